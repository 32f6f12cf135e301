// SPDX-License-Identifier: Apache-2.0
// interpolate over sixteen lanes; a tier's file includes its lanes first.
#pragma once
#include "kernels/common/values16.h"
#include "kernels/interpolate/kernel.h"

namespace octavo {
namespace {

static inline F16 between(F16 a, F16 b, F16 fraction) { return add(a, mul(sub(b, a), fraction)); }

// Channels [c, c + n) of output o.
template <bool Whole, class T>
static inline void interpolate_channels(const InterpolateArgs& args, int64_t o, int64_t c, int n) {
  const F16 fraction = set1(args.fraction[o]);
  const int64_t from[2] = {args.left[o] + c, args.right[o] + c};
  F16 corner[4];
  OCTAVO_UNROLL
  for (int i = 0; i < 4; ++i) {
    const T* row = (const T*)(i < 2 ? args.top : args.bottom);
    corner[i] = as_values(load_lanes<Whole>(row + from[i % 2], n), set1_i(0));
  }
  const F16 above = between(corner[0], corner[1], fraction);
  const F16 below = between(corner[2], corner[3], fraction);
  T* out = (T*)args.out + o * args.channels + c;
  const F16 t = between(above, below, set1(args.down));
  store_lanes<Whole>(out, as_elements(out, t, set1_i(0)), n);
}

template <class T>
static inline void interpolate_row(const InterpolateArgs& args) {
  for (int64_t o = 0; o < args.outputs; ++o) {
    int64_t c = 0;
    for (; c + 16 <= args.channels; c += 16) interpolate_channels<true, T>(args, o, c, 16);
    if (c < args.channels) interpolate_channels<false, T>(args, o, c, (int)(args.channels - c));
  }
}

}  // namespace

void OCTAVO_LANES16(interpolate_f32)(const InterpolateArgs& args) noexcept {
  args.codes ? interpolate_row<int8_t>(args) : interpolate_row<float>(args);
}

}  // namespace octavo
