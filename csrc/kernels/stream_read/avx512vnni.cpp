// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/compiler.h"
#include "kernels/common/x86.h"
#include "kernels/stream_read/kernel.h"

namespace octavo {

void stream_read_u8_avx512vnni(const StreamReadArgs& args) noexcept {
  __m512i sum[4];
  OCTAVO_UNROLL
  for (int j = 0; j < 4; ++j) sum[j] = _mm512_setzero_si512();
  for (int64_t i = 0; i < args.bytes; i += 256) {
    OCTAVO_UNROLL
    for (int j = 0; j < 4; ++j) {
      sum[j] = _mm512_xor_si512(sum[j], _mm512_loadu_si512(args.data + i + 64 * j));
    }
  }
  OCTAVO_UNROLL
  for (int j = 1; j < 4; ++j) sum[0] = _mm512_xor_si512(sum[0], sum[j]);
  *args.sink = (uint64_t)_mm_cvtsi128_si32(_mm512_castsi512_si128(sum[0]));
}

}  // namespace octavo
