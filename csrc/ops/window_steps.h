// SPDX-License-Identifier: Apache-2.0
// Steps whose outputs read windows of their own channel: pools, and convolutions by channels.
#pragma once
#include <cstdint>
#include <memory>

#include "ops/element_steps.h"
#include "ops/windows.h"

namespace octavo {

// Weights (kernel_h, kernel_w, n), where output channel j reads channel j / (n / channels) of the
// input; t = float32(sum of (x - zero_point) * weight + bias) * multiplier of each output channel.
// bias may be null.
std::unique_ptr<const GraphStep> depthwise_s8(const WindowTensors& tensors,
                                              const std::int8_t* weight, std::int64_t n,
                                              const std::int32_t* bias, const float* multiplier,
                                              std::int32_t zero_point, const CodeRange& codes);

std::unique_ptr<const GraphStep> depthwise_f32(const WindowTensors& tensors, const float* weight,
                                               std::int64_t n, const float* bias,
                                               const Bounds& bounds);

// Pools, of which each output has an input inside and nothing is dilated.
std::unique_ptr<const GraphStep> max_pool(const WindowTensors& tensors, bool codes,
                                          const Bounds& bounds);
std::unique_ptr<const GraphStep> average_pool_f32(const WindowTensors& tensors,
                                                  const Bounds& bounds);
// t = float32(sum less zero points) * float32(scale / (out_scale * count of those inside)).
std::unique_ptr<const GraphStep> average_pool_s8(const WindowTensors& tensors, double scale,
                                                 double out_scale, std::int32_t zero_point,
                                                 const CodeRange& codes);

}  // namespace octavo
