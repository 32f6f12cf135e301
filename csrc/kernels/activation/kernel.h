// SPDX-License-Identifier: Apache-2.0
// Kernel family activation: out[i] = activation(x[i]) over a contiguous run, with the functions of
// kernels/common/math16.h. out may be x; both may end exactly at n.
#pragma once
#include <stdint.h>

#include "kernels/epilogue/kernel.h"

namespace octavo {

struct ActivationArgs {
  const float* x;
  float* out;
  int64_t n;
  Activation activation;
};

}  // namespace octavo
