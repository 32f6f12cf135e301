// SPDX-License-Identifier: Apache-2.0
// Steps of graphs that know no neighbours.
#pragma once
#include <cstdint>
#include <limits>
#include <memory>

#include "kernels/elementwise/kernel.h"
#include "kernels/epilogue/kernel.h"
#include "ops/graph_program.h"
#include "ops/linear.h"

namespace octavo {

// The outputs of an int8 step: code = rint(min(max(t, low), high)) + zero_point.
struct CodeRange {
  float low, high;  // whole numbers: codes less the zero point
  std::int32_t zero_point;
};

// Of float32 outputs; NaN passes.
struct Bounds {
  float low = -std::numeric_limits<float>::infinity();
  float high = std::numeric_limits<float>::infinity();

  // The one that has them with its relu_high, if it is one, and what is left to be done after it.
  Activation activation() const { return low == 0.0f ? Activation::kRelu : Activation::kNone; }
  Bounds behind_activation() const { return activation() == Activation::kNone ? *this : Bounds{}; }

  bool any() const { return low != -high || high != std::numeric_limits<float>::infinity(); }
};

// out = a function of kernels/elementwise of x, (m, n); on the calling thread.
void apply(Elementwise function, const Bounds& bounds, std::int64_t m, std::int64_t n,
           Rows<const float> x, Rows<float> out);

// Operands (images, positions, channels); of b, images and positions may be 1.
struct Operands {
  std::int64_t images, positions, channels;
  std::int64_t b_images, b_positions;
  Tensor a, b, out;
};

// An operation of kernels/elementwise, which `args` has, without its operands.
std::unique_ptr<const GraphStep> binary_step(const Operands& operands, const ElementwiseArgs& args);

// The same of rows and one row of b, whose values the step keeps.
std::unique_ptr<const GraphStep> row_step(Tensor x, Tensor out, std::int64_t rows,
                                          std::int64_t channels, const void* b,
                                          const ElementwiseArgs& args);

// out = values[x + 128], of as many codes as x has.
std::unique_ptr<const GraphStep> lookup_step(Tensor x, Tensor out, const std::int8_t* values);

// A function of kernels/elementwise, or an activation of layers; then the bounds.
std::unique_ptr<const GraphStep> function_step(Tensor x, Tensor out, Elementwise function,
                                               const Bounds& bounds);
std::unique_ptr<const GraphStep> activation_step(Tensor x, Tensor out, Activation activation,
                                                 const Bounds& bounds);

struct CodeParameters {
  float scale;
  std::int8_t zero_point;
};

std::unique_ptr<const GraphStep> quantize_step(Tensor x, Tensor out,
                                               const CodeParameters& parameters);
std::unique_ptr<const GraphStep> dequantize_step(Tensor x, Tensor out,
                                                 const CodeParameters& parameters);

// Of rows of n values.
std::unique_ptr<const GraphStep> softmax_f32(Tensor x, Tensor out, std::int64_t n);
std::unique_ptr<const GraphStep> softmax_s8(Tensor x, Tensor out, std::int64_t n,
                                            const CodeParameters& in, const CodeParameters& codes);

}  // namespace octavo
