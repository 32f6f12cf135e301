// SPDX-License-Identifier: Apache-2.0
// elementwise over sixteen lanes; a tier's file includes its lanes first.
#pragma once
#include <string.h>

#include "kernels/common/math16.h"
#include "kernels/common/values16.h"
#include "kernels/elementwise/kernel.h"

namespace octavo {
namespace {

constexpr bool has_second(Elementwise op) { return op <= Elementwise::kPrelu; }

template <Elementwise Op>
static inline F16 combined(F16 a, F16 b, F16 a_scale, F16 b_scale) {
  switch (Op) {
    case Elementwise::kAdd: return add(mul(a, a_scale), mul(b, b_scale));
    case Elementwise::kMultiply: return mul(mul(a, b), a_scale);
    case Elementwise::kPrelu:
      return select(not_below(a, set1(0.0f)), mul(a, a_scale), mul(mul(a, b), b_scale));
    case Elementwise::kClamp: return a;
    case Elementwise::kHardSwish:
      return mul(mul(a, clamped(add(a, set1(3.0f)), 0.0f, 6.0f)), set1(1.0f / 6.0f));
    case Elementwise::kLogistic: return div(set1(1.0f), add(set1(1.0f), exp16(neg(a))));
  }
  return a;
}

// n values of one row, a multiple of sixteen.
template <Elementwise Op, class T>
static void combine(const ElementwiseArgs& args, const void* a, const void* b, void* out,
                    int64_t n) {
  const I16 a_zero = set1_i(args.a_zero_point), b_zero = set1_i(args.b_zero_point);
  const I16 out_zero = set1_i(args.out_zero_point);
  const F16 a_scale = set1(args.a_scale), b_scale = set1(args.b_scale);
  const float low = args.low, high = args.high;
  for (int64_t i = 0; i < n; i += 16) {
    const F16 x = as_values(load_lanes<true>((const T*)a + i, 16), a_zero);
    const F16 y = has_second(Op) ? as_values(load_lanes<true>((const T*)b + i, 16), b_zero) : x;
    const F16 t = clamped(combined<Op>(x, y, a_scale, b_scale), low, high);
    store_lanes<true>((T*)out + i, as_elements((T*)out, t, out_zero), 16);
  }
}

using Combine = void (*)(const ElementwiseArgs&, const void*, const void*, void*, int64_t);

template <class T>
static inline Combine combine_of(Elementwise op) {
  switch (op) {
    case Elementwise::kAdd: return combine<Elementwise::kAdd, T>;
    case Elementwise::kMultiply: return combine<Elementwise::kMultiply, T>;
    case Elementwise::kPrelu: return combine<Elementwise::kPrelu, T>;
    case Elementwise::kClamp: return combine<Elementwise::kClamp, float>;
    case Elementwise::kHardSwish: return combine<Elementwise::kHardSwish, float>;
    case Elementwise::kLogistic: return combine<Elementwise::kLogistic, float>;
  }
  return nullptr;
}

}  // namespace

void OCTAVO_LANES16(elementwise_f32)(const ElementwiseArgs& args) noexcept {
  const Combine run = args.codes ? combine_of<int8_t>(args.op) : combine_of<float>(args.op);
  const int64_t size = args.codes ? 1 : 4, whole = args.n / 16 * 16;
  const size_t rest = (size_t)((args.n - whole) * size);
  for (int64_t m = 0; m < args.m; ++m) {
    const char* a = (const char*)args.a + m * args.a_stride * size;
    const char* b = (const char*)args.b + m * args.b_stride * size;
    char* out = (char*)args.out + m * args.out_stride * size;
    run(args, a, b, out, whole);
    if (rest == 0) continue;
    float ends[3][16] = {};  // of a, b and out
    memcpy(ends[0], a + whole * size, rest);
    if (has_second(args.op)) memcpy(ends[1], b + whole * size, rest);
    run(args, ends[0], ends[1], ends[2], 16);
    memcpy(out + whole * size, ends[2], rest);
  }
}

}  // namespace octavo
