// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>

#include "bindings/graph_arguments.h"
#include "ops/conv.h"
#include "ops/window_steps.h"

namespace octavo {
namespace {

// Of a sum: 255 * 128 times as many stay below 2^31.
constexpr std::int64_t kMostInputs = 65793;
// Of a window: sums of codes less zero points fit 32 bits.
constexpr std::int64_t kMostPooled = std::int64_t{1} << 23;
// Those by which sums are multiplied.
const float* multipliers(Keywords& k, std::int64_t n) {
  const float* values = k.values<float>("multiplier", n);
  const bool finite = std::all_of(values, values + n, [](float v) { return std::isfinite(v); });
  if (!finite) bad_argument("multiplier", "finite numbers");
  return values;
}

// The images of a step of such items, and their windows; no out_channels: as many as the input has.
WindowTensors window_tensors(const GraphProgram& self, Keywords& k,
                             const std::array<std::int64_t, 2>& kernel, std::int64_t out_channels,
                             std::int64_t x_item) {
  const auto shape = checked(k.integers<4>("shape"), "shape");
  const auto size = checked(k.integers<2>("size"), "size");
  checked(kernel, "kernel");
  const std::array<std::int64_t, 2> ones = {1, 1}, zeros = {0, 0};
  const auto stride = checked(k.integers<2>("stride", ones), "stride");
  const auto dilation = checked(k.integers<2>("dilation", ones), "dilation");
  const auto padding = checked(k.integers<2>("padding", zeros), "padding", 0);
  for (int i = 0; i < 2; ++i) {
    const std::int64_t reach = (size[i] - 1) * stride[i] + (kernel[i] - 1) * dilation[i];
    if (reach >= kMostExtent) bad_argument("size", "windows within 31 bits");
  }
  const Windows w = {shape[0],    shape[1],    shape[2],   shape[3],  size[0],
                     size[1],     kernel[0],   kernel[1],  stride[0], stride[1],
                     dilation[0], dilation[1], padding[0], padding[1]};
  const std::int64_t pixels = checked_mul(w.batch, w.height, w.width);
  const std::int64_t channels = out_channels == 0 ? w.channels : out_channels;
  const Tensor x = self.tensor("x", k.integer("x"), checked_mul(pixels, w.channels), x_item);
  const Tensor out =
      self.tensor("out", k.integer("out"), checked_mul(w.outputs(), channels), x_item);
  expect_apart(out, x);
  return {w, x, out};
}

// A weight (n, kh, kw, inputs) and the images it is for, of such items.
template <class T>
struct ConvArguments {
  Array array;
  ConvWeight<T> weight;
  WindowTensors tensors;

  ConvArguments(const GraphProgram& self, Keywords& k, std::int64_t item = sizeof(T))
      : array(k.array("weight")) {
    weight = {contiguous<T>(array, 4, "weight"), array.shape(0), k.integer("groups", 1)};
    if (weight.n < 1) bad_argument("weight", "at least one output");
    tensors = window_tensors(self, k, {array.shape(1), array.shape(2)}, weight.n, item);
    const std::int64_t channels = tensors.windows.channels, inputs = array.shape(3);
    if (weight.groups < 1 || weight.groups > channels || weight.n % weight.groups != 0 ||
        weight.groups * inputs != channels) {
      bad_argument("groups", "a number that divides outputs, and inputs into those of the weight");
    }
    if (sizeof(T) == 1 && array.size() / weight.n > kMostInputs) {
      bad_argument("weight", "fewer inputs of an output");
    }
  }
};

Step conv(const GraphProgram& self, Keywords& k) {
  const ConvArguments<std::int8_t> given(self, k);
  const std::int64_t n = given.weight.n;
  return conv_s8(given.tensors, given.weight, k.values<std::int32_t>("bias", n, true),
                 multipliers(k, n), code(k, "zero_point"), code_range(k));
}

Step conv_with_dynamic_codes(const GraphProgram& self, Keywords& k) {
  const ConvArguments<std::int8_t> given(self, k, sizeof(float));
  const std::int64_t n = given.weight.n;
  return conv_dynamic(given.tensors, given.weight, k.values<float>("scale", n),
                      k.values<float>("bias", n, true), bounds(k));
}

Step conv_of_floats(const GraphProgram& self, Keywords& k) {
  const ConvArguments<float> given(self, k);
  return conv_f32(given.tensors, given.weight, k.values<float>("bias", given.weight.n, true),
                  bounds(k));
}

// A weight (kh, kw, n), of n / channels outputs for each channel.
template <class T>
struct DepthwiseArguments {
  Array array;
  const T* weight;
  std::int64_t n;
  WindowTensors tensors;

  DepthwiseArguments(const GraphProgram& self, Keywords& k)
      : array(k.array("weight")), weight(contiguous<T>(array, 3, "weight")), n(array.shape(2)) {
    tensors = window_tensors(self, k, {array.shape(0), array.shape(1)}, n, sizeof(T));
    if (n < 1 || n % tensors.windows.channels != 0) {
      bad_argument("weight", "as many outputs for each channel");
    }
    if (sizeof(T) == 1 && array.size() / n > kMostInputs) bad_argument("weight", "fewer inputs");
  }
};

Step depthwise(const GraphProgram& self, Keywords& k) {
  const DepthwiseArguments<std::int8_t> given(self, k);
  return depthwise_s8(given.tensors, given.weight, given.n,
                      k.values<std::int32_t>("bias", given.n, true), multipliers(k, given.n),
                      code(k, "zero_point"), code_range(k));
}

Step depthwise_of_floats(const GraphProgram& self, Keywords& k) {
  const DepthwiseArguments<float> given(self, k);
  return depthwise_f32(given.tensors, given.weight, given.n, k.values<float>("bias", given.n, true),
                       bounds(k));
}

// A pool's images: each window has inputs, few enough for sums of codes in 32 bits.
WindowTensors pool_tensors(const GraphProgram& self, Keywords& k, std::int64_t item) {
  const auto kernel = k.integers<2>("kernel");
  WindowTensors tensors = window_tensors(self, k, {kernel[0], kernel[1]}, 0, item);
  const Windows& w = tensors.windows;
  if (w.dilation_h != 1 || w.dilation_w != 1) bad_argument("dilation", "(1, 1)");
  if (w.top >= w.kernel_h || (w.out_height - 1) * w.stride_h - w.top >= w.height ||
      w.left >= w.kernel_w || (w.out_width - 1) * w.stride_w - w.left >= w.width) {
    bad_argument("padding", "windows that have inputs");
  }
  const std::int64_t most = std::min(w.kernel_h, w.height) * std::min(w.kernel_w, w.width);
  if (item == 1 && most >= kMostPooled) bad_argument("kernel", "fewer inputs");
  return tensors;
}

Step average_pool(const GraphProgram& self, Keywords& k) {
  const WindowTensors tensors = pool_tensors(self, k, 1);
  return average_pool_s8(tensors, scale_of(k, "scale"), scale_of(k, "out_scale"),
                         code(k, "zero_point"), code_range(k));
}

Step average_pool_of_floats(const GraphProgram& self, Keywords& k) {
  return average_pool_f32(pool_tensors(self, k, sizeof(float)), bounds(k));
}

Step max_pool_of_codes(const GraphProgram& self, Keywords& k) {
  const WindowTensors tensors = pool_tensors(self, k, 1);
  const CodeRange codes = code_range(k, 0);
  return max_pool(tensors, true, {codes.low, codes.high});
}

Step max_pool_of_floats(const GraphProgram& self, Keywords& k) {
  return max_pool(pool_tensors(self, k, sizeof(float)), false, bounds(k));
}

}  // namespace

const std::vector<StepMaker>& window_steps() {
  static const std::vector<StepMaker> makers = {
      {"add_conv", &conv},
      {"add_conv_dynamic", &conv_with_dynamic_codes},
      {"add_conv_f32", &conv_of_floats},
      {"add_depthwise", &depthwise},
      {"add_depthwise_f32", &depthwise_of_floats},
      {"add_average_pool", &average_pool},
      {"add_average_pool_f32", &average_pool_of_floats},
      {"add_max_pool", &max_pool_of_codes},
      {"add_max_pool_f32", &max_pool_of_floats},
  };
  return makers;
}

}  // namespace octavo
