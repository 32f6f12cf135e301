// SPDX-License-Identifier: Apache-2.0
// quantize_rows over sixteen lanes; a tier's file includes its lanes first.
#pragma once
#include <float.h>
#include <math.h>

#include "kernels/common/compiler.h"
#include "kernels/common/put_codes16.h"
#include "kernels/quantize_rows/kernel.h"

namespace octavo {
namespace {

struct RowCode {
  float scale;
  float inverse;
  int32_t zero_point;  // signed domain
};

// Values i, i + 1, ... of a row, as they are quantized.
template <bool Scaled>
struct Row {
  const float* x;
  const float* multiplier;
  F16 sixteen(int i) const {
    const F16 v = load(x + i);
    return Scaled ? mul(v, load(multiplier + i)) : v;
  }
  F16 fewer(int i, int n) const {
    const F16 v = load_n(x + i, n);
    return Scaled ? mul(v, load_n(multiplier + i, n)) : v;
  }
};

// lo <= 0 <= hi over a row.
struct RowRange {
  float lo, hi;
  bool finite;  // all of the row
};

template <bool Scaled>
static inline RowRange row_range(const Row<Scaled>& row, int k) {
  constexpr int kChains = kLaneRegisters < 4 ? 4 : 2;
  F16 low[kChains], high[kChains];
  OCTAVO_UNROLL
  for (int j = 0; j < kChains; ++j) low[j] = high[j] = set1(0.0f);
  M16 bad = none();  // a NaN would not show in least and most
  int i = 0;
  for (; i + 64 <= k; i += 64) {
    OCTAVO_UNROLL
    for (int j = 0; j < 4; j += 2) {
      const F16 v = row.sixteen(i + 16 * j), w = row.sixteen(i + 16 * j + 16);
      const int c = j % kChains;
      low[c] = least(v, low[c]);
      high[c] = most(v, high[c]);
      low[c + 1] = least(w, low[c + 1]);
      high[c + 1] = most(w, high[c + 1]);
      bad = either(bad, either_nan(v, w));
    }
  }
  for (; i < k; i += 16) {
    const int n = k - i < 16 ? k - i : 16;
    const F16 v = row.fewer(i, n);
    low[0] = least(v, low[0]);
    high[0] = most(v, high[0]);
    bad = either(bad, is_nan(v));
  }
  OCTAVO_UNROLL
  for (int j = 1; j < kChains; ++j) {
    low[0] = least(low[0], low[j]);
    high[0] = most(high[0], high[j]);
  }
  const float lo = reduce_min(low[0]), hi = reduce_max(high[0]);
  return {lo, hi, !any(bad) && hi <= FLT_MAX && lo >= -FLT_MAX};
}

static inline float usable_scale(float scale, bool zero_range) {
  if (zero_range) return 1.0f;
  return scale < FLT_MIN ? FLT_MIN : scale;  // keeps 1 / scale finite
}

static inline RowCode row_code(const RowRange& range_of_row, bool symmetric) {
  if (!range_of_row.finite) return {NAN, 0.0f, 0};
  const float lo = range_of_row.lo, hi = range_of_row.hi;
  RowCode r;
  if (symmetric) {
    const float amax = -lo > hi ? -lo : hi;
    r.scale = usable_scale(amax / 127.0f, amax == 0.0f);
    r.inverse = 1.0f / r.scale;
    r.zero_point = 0;
    return r;
  }
  const float range = hi - lo;
  const float scale = range <= FLT_MAX ? range / 255.0f : hi / 255.0f - lo / 255.0f;
  r.scale = usable_scale(scale, range == 0.0f);
  r.inverse = 1.0f / r.scale;
  const float shift = lo * r.inverse;
  float zp = -128.0f - shift;
  zp = zp < -128.0f ? -128.0f : (zp > 127.0f ? 127.0f : zp);
  // Halves to even, as everywhere: 2^23 * 1.5 leaves the integer in the low bits.
  r.zero_point = (int32_t)((zp + 12582912.0f) - 12582912.0f);
  return r;
}

// Dynamic codes lie within their range. Given scales may be too small for the values: far ones are
// clamped in float, int32 conversion is only defined below 2^31.
template <bool Static>
static inline I16 codes_of(F16 x, F16 factor, I16 zero_point) {
  if (!Static) return add_i(to_int(mul(x, factor)), zero_point);
  F16 q = div(x, factor);
  q = select(is_nan(q), set1(0.0f), q);
  return add_i(to_int(min(max(q, set1(-512.0f)), set1(512.0f))), zero_point);
}

template <bool Static, bool Scaled>
static inline void row_codes(const QuantizeRowsArgs& args, const Row<Scaled>& row, uint8_t* a,
                             const RowCode& code) {
  const F16 factor = set1(Static ? code.scale : code.inverse);
  const I16 zero_point = set1_i(code.zero_point);
  const int k = args.k;
  const int64_t abs_offset = args.a_abs_offset;
  const ActivationEncoding form = args.form;
  const auto sixteen = [&](int i) { return codes_of<Static>(row.sixteen(i), factor, zero_point); };
  int i = 0;
  for (; i + 64 <= k; i += 64) {
    put_codes(a + i, abs_offset, form,
              saturated_s8(sixteen(i), sixteen(i + 16), sixteen(i + 32), sixteen(i + 48)));
  }
  for (; i + 16 <= k; i += 16) put_codes<true>(a + i, abs_offset, form, sixteen(i), 16);
  if (i < k) {
    const I16 q = codes_of<Static>(row.fewer(i, k - i), factor, zero_point);
    put_codes<false>(a + i, abs_offset, form, q, k - i);
  }
}

static inline void fill(uint8_t* p, int64_t from, int64_t to, uint8_t value) {
  for (int64_t i = from; i < to; ++i) p[i] = value;
}

template <bool Scaled>
static inline void write_row(const QuantizeRowsArgs& args, int m, const Row<Scaled>& row,
                             const RowCode& code) {
  uint8_t* a = args.a + m * args.a_stride;
  const bool split = args.form == ActivationEncoding::kSignAbs;
  const int32_t shift = args.form == ActivationEncoding::kU8 ? 128 : 0;
  if (args.static_scale != nullptr) {
    row_codes<true>(args, row, a, code);
  } else if (code.scale <= FLT_MAX) {
    row_codes<false>(args, row, a, code);
  } else {
    fill(a, 0, args.k, (uint8_t)shift);
    if (split) fill(a + args.a_abs_offset, 0, args.k, 0);
  }
  if (args.pad) {
    const int64_t k_pad = ((int64_t)args.k + 63) / 64 * 64;
    fill(a, args.k, k_pad, 0);
    if (split) fill(a + args.a_abs_offset, args.k, k_pad, 0);
  }
  args.scale[m] = code.scale;
  args.zero_point[m] = (int32_t)((uint32_t)code.zero_point + (uint32_t)shift);
}

// Rows are taken four at a time: from the last value of a row to its scale is a long way, on which
// the others' ranges are found.
template <bool Scaled>
static inline void quantize_rows_scaled(const QuantizeRowsArgs& args) {
  constexpr int kRows = 4;
  for (int m0 = 0; m0 < args.m; m0 += kRows) {
    const int rows = args.m - m0 < kRows ? args.m - m0 : kRows;
    const auto row = [&](int i) {
      return Row<Scaled>{args.x + (m0 + i) * args.x_stride, args.multiplier};
    };
    RowCode code[kRows];
    for (int i = 0; i < rows; ++i) {
      code[i] = args.static_scale != nullptr
                    ? RowCode{*args.static_scale, 0.0f, args.static_zero_point}
                    : row_code(row_range(row(i), args.k), args.symmetric);
    }
    for (int i = 0; i < rows; ++i) write_row(args, m0 + i, row(i), code[i]);
  }
}

static inline void quantize_rows_generic(const QuantizeRowsArgs& args) {
  if (args.multiplier != nullptr) {
    quantize_rows_scaled<true>(args);
  } else {
    quantize_rows_scaled<false>(args);
  }
}

}  // namespace

void OCTAVO_LANES16(quantize_rows_f32)(const QuantizeRowsArgs& args) noexcept {
  quantize_rows_generic(args);
}

}  // namespace octavo
