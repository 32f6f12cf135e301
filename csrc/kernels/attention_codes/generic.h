// SPDX-License-Identifier: Apache-2.0
// attention_codes over sixteen lanes; a tier's file includes its lanes first.
#pragma once
#include <float.h>
#include <math.h>

#include "kernels/attention_codes/kernel.h"
#include "kernels/common/put_codes16.h"
#include "kernels/common/some16.h"

namespace octavo {
namespace {

// Of at most sixteen rows.
struct RowScales {
  float scale[16];
  float inverse[16];
};

// The bits of max|x|: as integers infinities come above all numbers, and NaNs above them.
static inline int32_t largest_bits(const float* x, int d) {
  I16 most = set1_i(0);
  int e = 0;
  for (; e + 16 <= d; e += 16) most = max_i(float_bits(abs(load(x + e))), most);
  if (e < d) most = max_i(float_bits(abs(load_n(x + e, d - e))), most);
  return reduce_max_i(most);
}

static inline RowScales row_scales(const AttentionCodesArgs& args, int m, int rows) {
  int32_t bits[16] = {0};
  for (int r = 0; r < rows; ++r) bits[r] = largest_bits(args.x + (m + r) * args.x_stride, args.d);
  const F16 largest = load((const float*)bits);
  const F16 unit = max(div(largest, set1(127.0f)), set1(FLT_MIN));
  RowScales out;
  store(out.inverse, div(set1(1.0f), unit));
  store(out.scale, select(not_below(set1(0.0f), largest), set1(0.0f), unit));
  for (int r = 0; r < rows; ++r) {
    if (bits[r] >= 0x7f800000) out.scale[r] = NAN;
  }
  return out;
}

static inline void put_row(const AttentionCodesArgs& args, int m, float inverse) {
  const float* x = args.x + m * args.x_stride;
  uint8_t* out = args.codes + m * args.codes_stride;
  for (int e = 0; e < args.d; e += 16) {
    const int n = args.d - e < 16 ? args.d - e : 16;
    const I16 code = to_int(mul(load_some(x + e, n), set1(inverse)));
    if (n == 16) {
      put_codes<true>(out + e, args.abs_offset, args.form, code, 16);
    } else {
      put_codes<false>(out + e, args.abs_offset, args.form, code, n);
    }
  }
}

static inline void put_zeros(const AttentionCodesArgs& args, int m) {
  uint8_t* out = args.codes + m * args.codes_stride;
  for (int e = 0; e < args.d; ++e) {
    put_codes<false>(out + e, args.abs_offset, args.form, set1_i(0), 1);
  }
}

}  // namespace

void OCTAVO_LANES16(attention_codes_f32s8)(const AttentionCodesArgs& args) noexcept {
  for (int m = 0; m < args.m; m += 16) {
    const int rows = args.m - m < 16 ? args.m - m : 16;
    const RowScales scales = row_scales(args, m, rows);
    for (int r = 0; r < rows; ++r) {
      args.scale[m + r] = scales.scale[r];
      if (scales.scale[r] == scales.scale[r]) {
        put_row(args, m + r, scales.inverse[r]);
      } else {
        put_zeros(args, m + r);
      }
    }
  }
}

}  // namespace octavo
