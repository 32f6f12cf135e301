// SPDX-License-Identifier: Apache-2.0
// lookup_s8 by vpermi2b: the table is four registers, one pair for each sign of the code.
#include "kernels/common/x86.h"
#include "kernels/lookup_s8/kernel.h"

namespace octavo {
namespace {

struct Table {
  __m512i quarter[4];
};

static inline __m512i looked_up(const Table& table, __m512i x) {
  const __m512i below = _mm512_permutex2var_epi8(table.quarter[0], x, table.quarter[1]);
  const __m512i above = _mm512_permutex2var_epi8(table.quarter[2], x, table.quarter[3]);
  return _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), above, below);
}

}  // namespace

void lookup_s8_avx512vbmi2(const LookupS8Args& given) noexcept {
  const LookupS8Args args = given;  // which no store changes
  Table table;
  for (int i = 0; i < 4; ++i) table.quarter[i] = _mm512_loadu_si512(args.table + 64 * i);
  int64_t i = 0;
  for (; i + 64 <= args.n; i += 64) {
    _mm512_storeu_si512(args.out + i, looked_up(table, _mm512_loadu_si512(args.x + i)));
  }
  for (; i < args.n; ++i) args.out[i] = args.table[args.x[i] + 128];
}

}  // namespace octavo
