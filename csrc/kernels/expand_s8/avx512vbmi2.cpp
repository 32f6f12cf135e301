// SPDX-License-Identifier: Apache-2.0
// expand_s8 with vpexpandb, from a register: with a memory operand it may be microcoded.
// Cycles of a group by llvm-mca: icelake-server 3.1, znver4 2.1; of avx2.cpp 13.9 and 12.8.
#include "kernels/common/compiler.h"
#include "kernels/common/x86.h"
#include "kernels/expand_s8/kernel.h"

namespace octavo {

void expand_s8_1x64_avx512vbmi2(const ExpandS8Args& args) noexcept {
  for (int p = 0; p < args.b.panels; ++p) {
    const int8_t* value = args.b.value + args.b.first_value[p * args.b.first_stride];
    const uint64_t* mask = args.b.mask + p * args.b.mask_stride;
    int8_t* out = args.out + p * args.out_stride;
    for (int g = 0; g < args.groups; ++g) {
      __m512i next = _mm512_loadu_si512(value);
      OCTAVO_FORGET_VECTOR(next);
      _mm512_storeu_si512(out + 64 * g, _mm512_maskz_expand_epi8(mask[g], next));
      value += _mm_popcnt_u64(mask[g]);
    }
  }
}

}  // namespace octavo
