// SPDX-License-Identifier: Apache-2.0
// gated over sixteen lanes; a tier's file includes its lanes first.
#pragma once
#include "kernels/common/activation16.h"
#include "kernels/common/some16.h"
#include "kernels/gated/kernel.h"

namespace octavo {
namespace {

template <Activation A>
static inline void gate_columns(const float* gate, const float* x, int n, float* out) {
  store_some(out, mul(activate<A>(load_some(gate, n)), load_some(x, n)), n);
}

template <Activation A>
struct GatedRows {
  static void run(const GatedArgs& args) {
    for (int64_t m = 0; m < args.m; ++m) {
      const float* gate = args.gate + m * args.gate_stride;
      const float* x = args.x + m * args.x_stride;
      float* out = args.out + m * args.out_stride;
      int64_t i = 0;
      for (; i + 16 <= args.n; i += 16) gate_columns<A>(gate + i, x + i, 16, out + i);
      if (i < args.n) gate_columns<A>(gate + i, x + i, (int)(args.n - i), out + i);
    }
  }
};

}  // namespace

void OCTAVO_LANES16(gated_f32)(const GatedArgs& args) noexcept {
  with_activation<GatedRows>(args.activation, args);
}

}  // namespace octavo
