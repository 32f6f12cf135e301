// SPDX-License-Identifier: Apache-2.0
// quantize_rows over sixteen lanes; a tier's file includes its lanes first.
#pragma once
#include <float.h>
#include <math.h>

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

// lo <= 0 <= hi over the row; finite says whether all of it is.
template <bool Scaled>
static inline void row_range(const Row<Scaled>& row, int k, float& lo, float& hi, bool& finite) {
  F16 low[2] = {set1(0.0f), set1(0.0f)}, high[2] = {set1(0.0f), set1(0.0f)};
  M16 bad = none();
  int i = 0;
  for (; i + 32 <= k; i += 32) {
    for (int j = 0; j < 2; ++j) {
      const F16 v = row.sixteen(i + 16 * j);
      // A NaN would make min and max give the second operand, so it is looked for apart.
      low[j] = min(v, low[j]);
      high[j] = max(v, high[j]);
      bad = either(bad, is_nan(v));
    }
  }
  for (; i < k; i += 16) {
    const int n = k - i < 16 ? k - i : 16;
    const F16 v = row.fewer(i, n);
    low[0] = min(v, low[0]);
    high[0] = max(v, high[0]);
    bad = either(bad, is_nan(v));
  }
  lo = reduce_min(min(low[0], low[1]));
  hi = reduce_max(max(high[0], high[1]));
  finite = !any(bad) && hi <= FLT_MAX && lo >= -FLT_MAX;
}

static inline float usable_scale(float scale, bool zero_range) {
  if (zero_range) return 1.0f;
  return scale < FLT_MIN ? FLT_MIN : scale;  // keeps 1 / scale finite
}

static inline RowCode row_code(float lo, float hi, bool symmetric) {
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

template <bool Static>
static inline I16 codes_of(F16 x, F16 factor, F16 top, I16 zero_point) {
  F16 q = Static ? div(x, factor) : mul(x, factor);
  if (Static) q = select(is_nan(q), set1(0.0f), q);
  return add_i(to_int(min(max(q, neg(top)), top)), zero_point);
}

template <bool Static, bool Scaled>
static inline void row_codes(const QuantizeRowsArgs& args, const Row<Scaled>& row, uint8_t* a,
                             const RowCode& code) {
  const F16 factor = set1(Static ? code.scale : code.inverse);
  const I16 zero_point = set1_i(code.zero_point);
  // Far values are clamped in float: int32 conversion is only defined below 2^31.
  const F16 top = set1(Static || !args.symmetric ? 512.0f : 127.0f);
  int i = 0;
  for (; i + 16 <= args.k; i += 16) {
    const I16 q = codes_of<Static>(row.sixteen(i), factor, top, zero_point);
    put_codes<true>(a + i, args.a_abs_offset, args.form, q, 16);
  }
  if (i < args.k) {
    const int n = args.k - i;
    const I16 q = codes_of<Static>(row.fewer(i, n), factor, top, zero_point);
    put_codes<false>(a + i, args.a_abs_offset, args.form, q, n);
  }
}

static inline void zero_fill(uint8_t* p, int64_t from, int64_t to) {
  for (int64_t i = from; i < to; ++i) p[i] = 0;
}

template <bool Scaled>
static inline void quantize_rows_scaled(const QuantizeRowsArgs& args) {
  const int64_t k_pad = ((int64_t)args.k + 63) / 64 * 64;
  const int32_t form_shift = args.form == ActivationEncoding::kU8 ? 128 : 0;
  for (int m = 0; m < args.m; ++m) {
    const Row<Scaled> row = {args.x + m * args.x_stride, args.multiplier};
    uint8_t* a = args.a + m * args.a_stride;
    RowCode code = {1.0f, 1.0f, 0};
    bool finite = true;
    if (args.static_scale != nullptr) {
      code = {*args.static_scale, 0.0f, args.static_zero_point};
      row_codes<true>(args, row, a, code);
    } else {
      float lo, hi;
      row_range(row, args.k, lo, hi, finite);
      if (finite) {
        code = row_code(lo, hi, args.symmetric);
        row_codes<false>(args, row, a, code);
      }
    }
    if (!finite) {
      code.scale = NAN;
      zero_fill(a, 0, args.k);
      if (args.form == ActivationEncoding::kSignAbs) zero_fill(a + args.a_abs_offset, 0, args.k);
      if (args.form == ActivationEncoding::kU8) {
        for (int i = 0; i < args.k; ++i) a[i] = 128;
      }
    }
    if (args.pad) {
      zero_fill(a, args.k, k_pad);
      if (args.form == ActivationEncoding::kSignAbs)
        zero_fill(a + args.a_abs_offset, args.k, k_pad);
    }
    args.scale[m] = code.scale;
    args.zero_point[m] = (int32_t)((uint32_t)code.zero_point + (uint32_t)form_shift);
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
