// SPDX-License-Identifier: Apache-2.0
// Convolutions as products: the row of an output is what it reads, gathered block by block, so that
// no copy of the image is made.
#pragma once
#include <cstdint>
#include <memory>

#include "ops/element_steps.h"
#include "ops/windows.h"

namespace octavo {

// Values (n, kernel_h, kernel_w, channels / groups). Groups of inputs make groups of outputs.
template <class T>
struct ConvWeight {
  const T* values;
  std::int64_t n, groups;
};

// t = float32(sum of (x - zero_point) * weight + bias) * multiplier of each output channel; bias
// may be null.
std::unique_ptr<const GraphStep> conv_s8(const WindowTensors& tensors,
                                         const ConvWeight<std::int8_t>& weight,
                                         const std::int32_t* bias, const float* multiplier,
                                         std::int32_t zero_point, const CodeRange& codes);

// Float32 images become codes, each in its own range; y = float32(sum) * (image scale * scale) +
// bias, where bias may be null.
std::unique_ptr<const GraphStep> conv_dynamic(const WindowTensors& tensors,
                                              const ConvWeight<std::int8_t>& weight,
                                              const float* scale, const float* bias,
                                              const Bounds& bounds);

// Sums as gemm_f32 makes them; bias may be null.
std::unique_ptr<const GraphStep> conv_f32(const WindowTensors& tensors,
                                          const ConvWeight<float>& weight, const float* bias,
                                          const Bounds& bounds);

}  // namespace octavo
