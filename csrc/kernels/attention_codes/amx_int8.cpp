// SPDX-License-Identifier: Apache-2.0
// Keys as rows: left operands of products of tiles, whose right ones, queries and values, are
// panels of groups as elsewhere. Both may be signed, so that queries need no offset.
#include "kernels/common/code_groups_avx512vnni.h"

#include "kernels/attention_codes/rows16.h"

namespace octavo {
namespace {

struct KeyRows {
  static inline void put_queries(int32_t* panel, int r, int e, const I16* codes, I16& sums) {
    put_four_rows<false>(panel + e / 4 * 16 + r, codes, sums);
  }
  static inline void put_keys(int32_t* panel, int d, int r, int e, const I16* codes, I16&) {
    const int groups = (d + 15) / 16 * 4;
    const __m512i fours = _mm512_packs_epi16(_mm512_packs_epi32(codes[0].v, codes[1].v),
                                             _mm512_packs_epi32(codes[2].v, codes[3].v));
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    store_lanes_apart(panel + r * groups + e / 4, groups, _mm512_permutexvar_epi32(order, fours));
  }
  static inline void put_starts(int32_t*, const I16*) {}
};

}  // namespace

void attention_codes_f32_amx_int8(const AttentionCodesArgs& args) noexcept {
  attention_codes<KeyRows>(args);
}

}  // namespace octavo
