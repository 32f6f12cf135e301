// SPDX-License-Identifier: Apache-2.0
// window over sixteen lanes; a tier's file includes its lanes first. Sixteen channels of four
// outputs are made at once, so that weights are read once for all and no sum waits for another. The
// last sixteen channels overlap with those before; where there are fewer outputs, the last is made
// several times.
#pragma once
#include <math.h>

#include "kernels/common/values16.h"
#include "kernels/window/kernel.h"

namespace octavo {
namespace {

// What an operation does: the first value of a fold, a step of it, and its result.
struct MaxS8 {
  using T = int8_t;
  static I16 first() { return set1_i(-128); }
  static I16 step(I16 t, I16 v, F16) { return max_i(t, v); }
  static I16 result(const WindowArgs& args, I16 t, F16) {
    return to_int(clamped(to_float(t), args.low, args.high));
  }
};
struct MeanS8 : MaxS8 {
  static I16 first() { return set1_i(0); }
  static I16 step(I16 t, I16 v, F16) { return add_i(t, v); }
  static I16 result(const WindowArgs& args, I16 t, F16) {
    const int32_t zeros = args.zero_point * (int32_t)(args.rows * args.columns);
    const F16 mean = mul(to_float(sub_i(t, set1_i(zeros))), set1(args.scale));
    return add_i(to_int(clamped(mean, args.low, args.high)), set1_i(args.out_zero_point));
  }
};
struct MaxF32 {
  using T = float;
  static F16 first() { return set1(-INFINITY); }
  static F16 step(F16 t, F16 v, F16) { return select(is_nan(v), v, max(v, t)); }
  static F16 result(const WindowArgs& args, F16 t, F16) { return clamped(t, args.low, args.high); }
};
struct MeanF32 : MaxF32 {
  static F16 first() { return set1(0.0f); }
  static F16 step(F16 t, F16 v, F16) { return add(t, v); }
  static F16 result(const WindowArgs& args, F16 t, F16) {
    return clamped(div(t, set1((float)(args.rows * args.columns))), args.low, args.high);
  }
};
struct WeightedF32 : MeanF32 {
  static F16 step(F16 t, F16 v, F16 w) { return fma(v, w, t); }
  static F16 result(const WindowArgs& args, F16 t, F16 bias) {
    return clamped(add(t, bias), args.low, args.high);
  }
};

template <class Op>
constexpr bool kHasWeights = false;
template <>
constexpr bool kHasWeights<WeightedF32> = true;

// Of a weight or bias, where there is one.
template <class Op, bool Whole>
static inline F16 load_weights(const float* w, int64_t place, int n) {
  return kHasWeights<Op> ? load_lanes<Whole>(w + place, n) : set1(0.0f);
}

// Some outputs from o on in channels [c, c + n).
template <class Op, int Outputs, bool Whole>
static OCTAVO_INLINE void fold(const WindowArgs& args, int64_t o, int64_t c, int n) {
  using T = typename Op::T;
  const T* x = (const T*)args.x + c;
  T* out = (T*)args.out + c;
  int64_t output[Outputs];
  decltype(Op::first()) t[Outputs];
  OCTAVO_UNROLL
  for (int k = 0; k < Outputs; ++k) {
    output[k] = o + k < args.outputs ? o + k : args.outputs - 1;
    t[k] = Op::first();
  }
  for (int64_t i = 0; i < args.rows; ++i) {
    const T* p = x + i * args.row_stride;
    int64_t place = i * args.w_row_stride + c;
    for (int64_t j = 0; j < args.columns; ++j) {
      const F16 weights = load_weights<Op, Whole>(args.w, place, n);
      OCTAVO_UNROLL
      for (int k = 0; k < Outputs; ++k) {
        t[k] = Op::step(t[k], load_lanes<Whole>(p + output[k] * args.step, n), weights);
      }
      p += args.column_stride;
      place += args.w_column_stride;
    }
  }
  const F16 bias = load_weights<Op, Whole>(args.bias, c, n);
  OCTAVO_UNROLL
  for (int k = 0; k < Outputs; ++k) {
    store_lanes<Whole>(out + output[k] * args.out_stride, Op::result(args, t[k], bias), n);
  }
}

template <class Op>
static inline void fold_all(const WindowArgs& given) {
  const WindowArgs args = given;  // no store changes it
  if (args.channels < 16) {
    for (int64_t o = 0; o < args.outputs; ++o) fold<Op, 1, false>(args, o, 0, (int)args.channels);
    return;
  }
  for (int64_t c = 0; c < args.channels; c += 16) {
    const int64_t first = c + 16 <= args.channels ? c : args.channels - 16;
    if (kHasWeights<Op> && args.outputs == 1) {
      fold<Op, 1, true>(args, 0, first, 16);
      continue;
    }
    for (int64_t o = 0; o < args.outputs; o += 4) fold<Op, 4, true>(args, o, first, 16);
  }
}

}  // namespace

void OCTAVO_LANES16(window_f32)(const WindowArgs& args) noexcept {
  switch (args.op) {
    case Window::kMaxS8: return fold_all<MaxS8>(args);
    case Window::kMeanS8: return fold_all<MeanS8>(args);
    case Window::kMaxF32: return fold_all<MaxF32>(args);
    case Window::kMeanF32: return fold_all<MeanF32>(args);
    case Window::kWeightedF32: return fold_all<WeightedF32>(args);
  }
}

}  // namespace octavo
