// SPDX-License-Identifier: Apache-2.0
// lookup_s8 by vpshufb, which looks up sixteen bytes, by four bits of a byte below 128, and gives 0
// for others. Codes below zero, plus 128, and those from zero on are such bytes by turns. Step k of
// eight has 16 k taken off, saturated: it counts for a code as long as that is not below zero, and
// holds its sixteen entries and those of step k - 1 combined by exclusive or, so that of the steps
// that count for a code the last one's entries are left.
#include "kernels/common/x86.h"
#include "kernels/lookup_s8/kernel.h"

namespace octavo {
namespace {

static inline __m128i sixteen_entries(const int8_t* p) {
  return _mm_loadu_si128((const __m128i*)p);
}

}  // namespace

void lookup_s8_avx2(const LookupS8Args& given) noexcept {
  const LookupS8Args args = given;  // which no store changes
  __m256i step[16];
  for (int k = 0; k < 16; ++k) {
    __m128i entries = sixteen_entries(args.table + 16 * k);
    if (k % 8 != 0) entries = _mm_xor_si128(entries, sixteen_entries(args.table + 16 * (k - 1)));
    step[k] = _mm256_broadcastsi128_si256(entries);
  }
  int64_t i = 0;
  for (; i + 32 <= args.n; i += 32) {
    __m256i above = _mm256_loadu_si256((const __m256i*)(args.x + i));
    __m256i below = _mm256_xor_si256(above, _mm256_set1_epi8((char)0x80));
    __m256i y = _mm256_setzero_si256();
    for (int k = 0; k < 8; ++k) {
      y = _mm256_xor_si256(y, _mm256_shuffle_epi8(step[k], below));
      y = _mm256_xor_si256(y, _mm256_shuffle_epi8(step[8 + k], above));
      below = _mm256_subs_epi8(below, _mm256_set1_epi8(16));
      above = _mm256_subs_epi8(above, _mm256_set1_epi8(16));
    }
    _mm256_storeu_si256((__m256i*)(args.out + i), y);
  }
  for (; i < args.n; ++i) args.out[i] = args.table[args.x[i] + 128];
}

}  // namespace octavo
