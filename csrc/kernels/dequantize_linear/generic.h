// SPDX-License-Identifier: Apache-2.0
// dequantize_linear over sixteen lanes; a tier's file includes its lanes first.
#pragma once
#include "kernels/common/elements16.h"
#include "kernels/dequantize_linear/kernel.h"

namespace octavo {
namespace {

static inline F16 dequantized(I16 q, F16 scale, I16 zero_point) {
  return mul(to_float(sub_i(q, zero_point)), scale);
}

template <class Q, class Y, bool PerElement>
static inline void dequantize_row(const Q* q, const Y* scale, const Q* zero_point, Y* y, int64_t n,
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
    const F16 value = dequantized(load_codes(q + i), s, z);
    if (streaming) {
      stream_floats(y + i, value);
    } else {
      store_floats(y + i, value);
    }
  }
  if (i == n) return;
  const int rest = (int)(n - i);
  if (PerElement) {
    s = load_floats_n(scale + i, rest);
    if (zero_point) z = load_codes_n(zero_point + i, rest);
  }
  store_floats_n(y + i, dequantized(load_codes_n(q + i, rest), s, z), rest);
}

template <class Q, class Y>
static inline void dequantize_typed(const DequantizeLinearArgs& args) {
  for (int64_t r = 0; r < args.rows; ++r) {
    const Q* q = (const Q*)args.q + r * args.n;
    const Y* scale = (const Y*)args.scale + r * args.parameter_step;
    const Q* zero_point = (const Q*)args.zero_point;
    if (zero_point) zero_point += r * args.parameter_step;
    Y* y = (Y*)args.y + r * args.n;
    if (args.per_element) {
      dequantize_row<Q, Y, true>(q, scale, zero_point, y, args.n, args.stream);
    } else {
      dequantize_row<Q, Y, false>(q, scale, zero_point, y, args.n, args.stream);
    }
  }
  if (args.stream) stream_fence();
}

template <class Y>
static inline void dequantize_to(const DequantizeLinearArgs& args) {
  switch (args.code_type) {
    case CodeType::kS8: return dequantize_typed<int8_t, Y>(args);
    case CodeType::kU8: return dequantize_typed<uint8_t, Y>(args);
    case CodeType::kS16: return dequantize_typed<int16_t, Y>(args);
    case CodeType::kU16: return dequantize_typed<uint16_t, Y>(args);
    case CodeType::kS32: return dequantize_typed<int32_t, Y>(args);
  }
}

static inline void dequantize_linear_generic(const DequantizeLinearArgs& args) {
  if (args.float_type == FloatType::kF32) {
    dequantize_to<float>(args);
  } else {
    dequantize_to<Half>(args);
  }
}

}  // namespace

void OCTAVO_LANES16(dequantize_linear_f32)(const DequantizeLinearArgs& args) noexcept {
  dequantize_linear_generic(args);
}

}  // namespace octavo
