// SPDX-License-Identifier: Apache-2.0
// quantize_linear over sixteen lanes; a tier's file includes its lanes first.
#pragma once
#include "kernels/common/elements16.h"
#include "kernels/quantize_linear/kernel.h"
#include "kernels/quantize_linear/reciprocal.h"

namespace octavo {
namespace {

static inline F16 as_float_type(F16 q, const float*) { return q; }
static inline F16 as_float_type(F16 q, const Half*) { return round_half(q); }

template <class X>
static inline I16 quantized(F16 x, F16 scale, I16 zero_point) {
  F16 q = as_float_type(div(x, scale), (const X*)nullptr);
  q = select(is_nan(q), set1(0.0f), q);
  q = min(max(q, set1(-131072.0f)), set1(131072.0f));
  return add_i(to_int(q), zero_point);
}

template <class X, class Y, bool PerElement>
static inline void quantize_row(const X* x, const X* scale, const Y* zero_point, Y* y, int64_t n,
                                bool streaming) {
  F16 s = set1(1.0f);
  I16 z = set1_i(0);
  if (!PerElement) {
    s = broadcast_float(scale);
    if (zero_point) z = set1_i(*zero_point);
  }
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    if (PerElement) {
      s = load_floats(scale + i);
      if (zero_point) z = load_codes(zero_point + i);
    }
    prefetch_ahead(x + i);
    const I16 code = quantized<X>(load_floats(x + i), s, z);
    if (streaming) {
      stream_codes(y + i, code);
    } else {
      store_codes(y + i, code);
    }
  }
  if (i == n) return;
  const int rest = (int)(n - i);
  if (PerElement) {
    s = load_floats_n(scale + i, rest);
    if (zero_point) z = load_codes_n(zero_point + i, rest);
  }
  store_codes_n(y + i, quantized<X>(load_floats_n(x + i, rest), s, z), rest);
}

// One parameter for the row; 8-bit codes by the reciprocal.
template <class X, class Y>
static inline void quantize_plain_row(const X* x, const X* scale, const Y* zero_point, Y* y,
                                      int64_t n, bool streaming) {
  quantize_row<X, Y, false>(x, scale, zero_point, y, n, streaming);
}
template <class X, class Y>
static inline void quantize_8bit_row(const X* x, const X* scale, const Y* zero_point, Y* y,
                                     int64_t n, bool streaming) {
  int64_t i = 0;
  const float s = n < kStretch ? 0.0f : reduce_max(broadcast_float(scale));
  if (has_reciprocal(s)) {
    const Reciprocal by = reciprocal_of<X>(s, zero_point);
    for (; i + kStretch <= n; i += kStretch) {
      if (!quantize_stretch(x + i, by, y + i, streaming)) {
        quantize_row<X, Y, false>(x + i, scale, zero_point, y + i, kStretch, streaming);
      }
    }
  }
  quantize_row<X, Y, false>(x + i, scale, zero_point, y + i, n - i, streaming);
}
template <class X>
static inline void quantize_plain_row(const X* x, const X* scale, const int8_t* zero_point,
                                      int8_t* y, int64_t n, bool streaming) {
  quantize_8bit_row(x, scale, zero_point, y, n, streaming);
}
template <class X>
static inline void quantize_plain_row(const X* x, const X* scale, const uint8_t* zero_point,
                                      uint8_t* y, int64_t n, bool streaming) {
  quantize_8bit_row(x, scale, zero_point, y, n, streaming);
}

template <class X, class Y>
static inline void quantize_typed(const QuantizeLinearArgs& args) {
  for (int64_t r = 0; r < args.rows; ++r) {
    const X* x = (const X*)args.x + r * args.n;
    const X* scale = (const X*)args.scale + r * args.parameter_step;
    const Y* zero_point = (const Y*)args.zero_point;
    if (zero_point) zero_point += r * args.parameter_step;
    Y* y = (Y*)args.y + r * args.n;
    if (args.per_element) {
      quantize_row<X, Y, true>(x, scale, zero_point, y, args.n, args.stream);
    } else {
      quantize_plain_row(x, scale, zero_point, y, args.n, args.stream);
    }
  }
  if (args.stream) stream_fence();
}

template <class X>
static inline void quantize_to(const QuantizeLinearArgs& args) {
  switch (args.code_type) {
    case CodeType::kS8: return quantize_typed<X, int8_t>(args);
    case CodeType::kU8: return quantize_typed<X, uint8_t>(args);
    case CodeType::kS16: return quantize_typed<X, int16_t>(args);
    case CodeType::kU16: return quantize_typed<X, uint16_t>(args);
    case CodeType::kS32: return;
  }
}

static inline void quantize_linear_generic(const QuantizeLinearArgs& args) {
  if (args.float_type == FloatType::kF32) {
    quantize_to<float>(args);
  } else {
    quantize_to<Half>(args);
  }
}

}  // namespace

void OCTAVO_LANES16(quantize_linear_f32)(const QuantizeLinearArgs& args) noexcept {
  quantize_linear_generic(args);
}

}  // namespace octavo
