// SPDX-License-Identifier: Apache-2.0
// An int8 convolution in one pass (kernels/gemm_codes_s8), without the driver's blocks of codes and
// sums: outputs that read their own place alone read the image where it lies, others are gathered.
#pragma once
#include <cstdint>

#include "dispatch/isa.h"
#include "ops/element_steps.h"
#include "ops/window_rows.h"
#include "weights/dense.h"

namespace octavo {

// Of one group of channels. Arrays have a value for each of its outputs.
struct CodesLayer {
  const DenseWeight& weight;
  const std::int32_t* offset;
  const std::int32_t* negative_sum;  // the magnitudes of weights below zero
  const float* multiplier;
  const CodeRange& codes;
};

// Whether it is meant for m outputs of k inputs: where the driver has no better instruction.
bool runs_in_one_pass(std::int64_t m, std::int64_t k, IsaMask isas);

// out: of the group's first output; those of a place lie `stride` behind those of the one before.
void run_in_one_pass(std::int64_t m, const CodesLayer& layer, const WindowRows& rows,
                     std::int8_t* out, std::int64_t stride);

}  // namespace octavo
