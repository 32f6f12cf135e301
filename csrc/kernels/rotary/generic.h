// SPDX-License-Identifier: Apache-2.0
// rotary over sixteen lanes; a tier's file includes its lanes first.
#pragma once
#include <string.h>

#include "kernels/common/some16.h"
#include "kernels/rotary/kernel.h"

namespace octavo {
namespace {

// n pairs from pair i on.
static inline void turn_pairs(const RotaryArgs& args, const float* x, int64_t row, int64_t i, int n,
                              float* out) {
  const F16 cosine = load_some(args.cosine + row + i, n);
  const F16 sine = load_some(args.sine + row + i, n);
  const F16 first = load_some(x + i, n), second = load_some(x + args.pairs + i, n);
  store_some(out + i, fma(first, cosine, neg(mul(second, sine))), n);
  store_some(out + args.pairs + i, fma(second, cosine, mul(first, sine)), n);
}

static inline void turn_head(const RotaryArgs& args, const float* x, int64_t row, float* out) {
  int64_t i = 0;
  for (; i + 16 <= args.pairs; i += 16) turn_pairs(args, x, row, i, 16, out);
  if (i < args.pairs) turn_pairs(args, x, row, i, (int)(args.pairs - i), out);
  const int64_t turned = 2 * args.pairs;
  if (out != x) memcpy(out + turned, x + turned, (size_t)(args.d - turned) * sizeof(float));
}

}  // namespace

void OCTAVO_LANES16(rotary_f32)(const RotaryArgs& args) noexcept {
  for (int64_t m = 0; m < args.m; ++m) {
    const float* x = args.x + m * args.x_stride;
    float* out = args.out + m * args.out_stride;
    for (int64_t head = 0; head < args.heads; ++head) {
      turn_head(args, x + head * args.d, args.positions[m] * args.pairs, out + head * args.d);
    }
  }
}

}  // namespace octavo
