// SPDX-License-Identifier: Apache-2.0
// attention_codes, sixteen rows at a time: they share the arithmetic on scales, and four of them
// make whole vectors of groups. A tier's file includes its code groups first.
#pragma once
#include <float.h>
#include <math.h>

#include "kernels/attention_codes/kernel.h"
#include "kernels/common/compiler.h"
#include "kernels/common/some16.h"

namespace octavo {
namespace {

// So many panels of rows at a time: one's scales do not wait for another's codes.
constexpr int kPanelsAtOnce = 4;
constexpr int kRowsAtOnce = 4;

// Where columns [e, e + 16) of d and of four rows go in a panel, whose row r is the first.
struct RowGroups {
  static inline void put_queries(int32_t* panel, int r, int e, const I16* codes, I16& sums) {
    put_four_rows<true>(panel + e / kGroupCodes * 16 + r, codes, sums);
  }
  static inline void put_keys(int32_t* panel, int, int r, int e, const I16* codes, I16& sums) {
    put_four_rows<false>(panel + e / kGroupCodes * 16 + r, codes, sums);
  }
  static inline void put_starts(int32_t* start, const I16* sums) { ::put_starts(start, sums); }
};

struct SixteenRows {
  const float* x[16];  // where there is no row, the last one's
  float scale[16];
  float inverse[16];
  bool finite;
};

// The bits of |x|: as integers infinities come above all numbers, and NaNs above them.
static inline void largest_bits(const float* const* x, int d, I16* most) {
  OCTAVO_UNROLL
  for (int r = 0; r < kRowsAtOnce; ++r) most[r] = set1_i(0);
  int e = 0;
  for (; e + 16 <= d; e += 16) {
    OCTAVO_UNROLL
    for (int r = 0; r < kRowsAtOnce; ++r) {
      most[r] = max_i(float_bits(abs(load(x[r] + e))), most[r]);
    }
  }
  for (int r = 0; e < d && r < kRowsAtOnce; ++r) {
    most[r] = max_i(float_bits(abs(load_n(x[r] + e, d - e))), most[r]);
  }
}

static inline void find_rows(const AttentionCodesArgs& args, int m, int rows, const float** x) {
  for (int r = 0; args.row_list != nullptr && r < rows; ++r) x[r] = args.x + args.row_list[m + r];
  const float* row = args.x + m * args.x_stride;
  for (int r = 0; args.row_list == nullptr && r < rows; ++r, row += args.x_stride) x[r] = row;
  for (int r = rows; r < 16; ++r) x[r] = x[rows - 1];
}

static inline void read_rows(const AttentionCodesArgs& args, int m, SixteenRows& out) {
  const int rows = args.m - m < 16 ? args.m - m : 16;
  find_rows(args, m, rows, out.x);
  I16 bits[16];
  OCTAVO_UNROLL
  for (int r = 0; r < 16; r += kRowsAtOnce) largest_bits(out.x + r, args.d, bits + r);
  const F16 largest = as_floats(largest_of_rows(bits));
  const F16 unit = max(div(largest, set1(127.0f)), set1(FLT_MIN));
  const M16 not_finite = is_nan(sub(largest, largest)), is_row = first_n(rows);
  F16 scale = select(not_below(set1(0.0f), largest), set1(0.0f), unit);
  scale = select(not_finite, set1(NAN), scale);
  store(out.scale, scale);
  store(args.scale + m, keep(is_row, scale));
  store(out.inverse, keep(is_row, div(set1(1.0f), unit)));
  out.finite = !any(not_finite);
}

// Columns [e, e + 16) of rows [r, r + 4); Plain where all of them are there and finite.
template <bool Plain>
static inline void read_four(const AttentionCodesArgs& args, const SixteenRows& rows, int r, int e,
                             I16* codes) {
  OCTAVO_UNROLL
  for (int i = 0; i < 4; ++i) {
    if (!Plain && rows.scale[r + i] != rows.scale[r + i]) {
      codes[i] = set1_i(0);
      continue;
    }
    const float* x = rows.x[r + i] + e;
    const F16 value = Plain ? load(x) : load_some(x, args.d - e < 16 ? args.d - e : 16);
    codes[i] = to_int(mul(value, set1(rows.inverse[r + i])));
  }
}

template <class Layout, AttentionOperand Operand, bool Plain>
static inline void put_columns(const AttentionCodesArgs& args, const SixteenRows& rows, int m,
                               int e, I16* sums) {
  OCTAVO_UNROLL
  for (int r = 0; r < 16; r += 4) {
    I16 codes[4];
    read_four<Plain>(args, rows, r, e, codes);
    if (Operand == AttentionOperand::kValues) {
      int32_t* out = args.groups + e / 16 * args.panel_stride + (m + r) / kGroupCodes * 16;
      for (int i = 0; i < 4; i += kGroupCodes) {
        store_i(out + i / kGroupCodes * 16, signed_groups(codes + i));
      }
    } else {
      int32_t* panel = args.groups + m / 16 * args.panel_stride;
      if (Operand == AttentionOperand::kQueries) {
        Layout::put_queries(panel, r, e, codes, sums[r / 4]);
      } else {
        Layout::put_keys(panel, args.d, r, e, codes, sums[r / 4]);
      }
    }
  }
}

template <class Layout, AttentionOperand Operand>
static inline void put_rows(const AttentionCodesArgs& args, const SixteenRows& rows, int m) {
  I16 sums[4];
  OCTAVO_UNROLL
  for (int i = 0; i < 4; ++i) sums[i] = set1_i(0);
  int e = 0;
  for (; rows.finite && e + 16 <= args.d; e += 16) {
    put_columns<Layout, Operand, true>(args, rows, m, e, sums);
  }
  for (; e < args.d; e += 16) put_columns<Layout, Operand, false>(args, rows, m, e, sums);
  if (Operand == AttentionOperand::kKeys) Layout::put_starts(args.start + m, sums);
}

template <class Layout, AttentionOperand Operand>
static inline void put_all(const AttentionCodesArgs& args) {
  SixteenRows rows[kPanelsAtOnce];
  for (int m0 = 0; m0 < args.m; m0 += 16 * kPanelsAtOnce) {
    for (int p = 0; p < kPanelsAtOnce && m0 + 16 * p < args.m; ++p) {
      read_rows(args, m0 + 16 * p, rows[p]);
    }
    for (int p = 0; p < kPanelsAtOnce && m0 + 16 * p < args.m; ++p) {
      put_rows<Layout, Operand>(args, rows[p], m0 + 16 * p);
    }
  }
}

template <class Layout = RowGroups>
static inline void attention_codes(const AttentionCodesArgs& args) {
  switch (args.operand) {
    case AttentionOperand::kQueries: return put_all<Layout, AttentionOperand::kQueries>(args);
    case AttentionOperand::kKeys: return put_all<Layout, AttentionOperand::kKeys>(args);
    case AttentionOperand::kValues: return put_all<Layout, AttentionOperand::kValues>(args);
  }
}

}  // namespace
}  // namespace octavo
