// SPDX-License-Identifier: Apache-2.0
// expand_s8 for AVX2: a byte of the mask picks a shuffle of eight values out of a table (2 KiB).
#include "kernels/common/compiler.h"
#include "kernels/common/x86.h"
#include "kernels/expand_s8/kernel.h"
#include "kernels/expand_s8/shuffles.h"

namespace octavo {
namespace {

static inline __m128i eight(const void* p) { return _mm_loadl_epi64((const __m128i*)p); }

static inline const int8_t* expand_group(uint64_t mask, const int8_t* value, int8_t* out) {
  const __m128i upper = _mm_set_epi64x(0x0808080808080808, 0);
  OCTAVO_UNROLL
  for (int i = 0; i < 4; ++i) {
    const uint32_t bits = (uint32_t)(mask >> 16 * i) & 0xffffu, low = bits & 255u;
    const __m128i from = _mm_unpacklo_epi64(eight(value), eight(value + _mm_popcnt_u32(low)));
    const __m128i index =
        _mm_unpacklo_epi64(eight(kShuffles.index[low]), eight(kShuffles.index[bits >> 8]));
    // 128 + 8 still shuffles to zero.
    const __m128i codes = _mm_shuffle_epi8(from, _mm_add_epi8(index, upper));
    _mm_storeu_si128((__m128i*)(out + 16 * i), codes);
    value += _mm_popcnt_u32(bits);
  }
  return value;
}

}  // namespace

void expand_s8_1x64_avx2(const ExpandS8Args& args) noexcept {
  for (int p = 0; p < args.b.panels; ++p) {
    const int8_t* value = args.b.value + args.b.first_value[p * args.b.first_stride];
    const uint64_t* mask = args.b.mask + p * args.b.mask_stride;
    int8_t* out = args.out + p * args.out_stride;
    for (int g = 0; g < args.groups; ++g) value = expand_group(mask[g], value, out + 64 * g);
  }
}

}  // namespace octavo
