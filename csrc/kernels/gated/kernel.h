// SPDX-License-Identifier: Apache-2.0
// Kernel family gated: out = activation(gate) * x, row by row. out may be gate or x; arrays may end
// exactly at n.
#pragma once
#include <stdint.h>

#include "kernels/epilogue/kernel.h"

namespace octavo {

struct GatedArgs {
  const float* gate;
  int64_t gate_stride;
  const float* x;
  int64_t x_stride;
  float* out;
  int64_t out_stride;
  int64_t m;
  int64_t n;
  Activation activation;
};

}  // namespace octavo
