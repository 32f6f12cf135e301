// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "bindings/activation_names.h"
#include "bindings/graph_arguments.h"
#include "ops/place_steps.h"

namespace octavo {
namespace {

// Outputs of an axis that is resized: tables have so many places.
constexpr std::int64_t kMostResized = std::int64_t{1} << 20;

// Activations that layers do not have.
constexpr Named<Elementwise> kFunctions[] = {{"none", Elementwise::kClamp},
                                             {"hard_swish", Elementwise::kHardSwish},
                                             {"logistic", Elementwise::kLogistic}};

Operands operands(const GraphProgram& self, Keywords& k, std::int64_t item) {
  const auto shape = checked(k.integers<3>("shape"), "shape");
  const auto b_shape = checked(k.integers<3>("b_shape", shape), "b_shape");
  const auto fits = [&](int i) { return b_shape[i] == shape[i] || b_shape[i] == 1; };
  if (!fits(0) || !fits(1) || b_shape[2] != shape[2]) {
    bad_argument("b_shape", "the shape, or 1 for its images, its positions or both");
  }
  const auto place = [&](const char* name, const std::array<std::int64_t, 3>& of) {
    return self.tensor(name, k.integer(name), checked_mul(of[0], of[1], of[2]), item);
  };
  const Operands found = {shape[0],
                          shape[1],
                          shape[2],
                          b_shape[0],
                          b_shape[1],
                          place("a", shape),
                          place("b", b_shape),
                          place("out", shape)};
  expect_apart(found.out, found.a, true);
  expect_apart(found.out, found.b);
  return found;
}

ElementwiseArgs operation(Elementwise op, const Bounds& limits) {
  ElementwiseArgs args = {};
  args.op = op;
  args.a_scale = args.b_scale = 1;
  args.low = limits.low;
  args.high = limits.high;
  return args;
}

ElementwiseArgs operation_of_codes(Elementwise op, Keywords& k) {
  const CodeRange codes = code_range(k);
  ElementwiseArgs args = operation(op, {codes.low, codes.high});
  args.codes = true;
  args.out_zero_point = codes.zero_point;
  return args;
}

template <Elementwise op>
Step binary(const GraphProgram& self, Keywords& k) {
  ElementwiseArgs args = operation_of_codes(op, k);
  if (op == Elementwise::kAdd) {
    args.a_scale = finite(k, "a_multiplier");
    args.b_scale = finite(k, "b_multiplier");
  } else {
    args.a_scale = finite(k, "multiplier");
  }
  args.a_zero_point = code(k, "a_zero_point");
  args.b_zero_point = code(k, "b_zero_point");
  return binary_step(operands(self, k, 1), args);
}

template <Elementwise op>
Step binary_of_floats(const GraphProgram& self, Keywords& k) {
  return binary_step(operands(self, k, sizeof(float)), operation(op, bounds(k)));
}

// What is read and written by a step on `count` elements: bytes of each on both sides.
struct Unary {
  Tensor x, out;

  Unary(const GraphProgram& self, Keywords& k, std::int64_t count, std::int64_t x_item,
        std::int64_t out_item, bool in_place = true)
      : x(self.tensor("x", k.integer("x"), count, x_item)),
        out(self.tensor("out", k.integer("out"), count, out_item)) {
    expect_apart(out, x, in_place);
  }
};

std::int64_t count_of(Keywords& k) {
  const std::int64_t count = k.integer("count");
  if (count < 1) bad_argument("count", "at least 1");
  return count;
}

Step lookup(const GraphProgram& self, Keywords& k) {
  const Unary given(self, k, count_of(k), 1, 1);
  return lookup_step(given.x, given.out, k.values<std::int8_t>("table", 256));
}

Step activation_of_floats(const GraphProgram& self, Keywords& k) {
  const Unary given(self, k, count_of(k), sizeof(float), sizeof(float));
  const std::string name = k.text("name", "none");
  const Bounds limits = bounds(k);
  for (const auto& function : kFunctions) {
    if (name == function.name) return function_step(given.x, given.out, function.value, limits);
  }
  return activation_step(given.x, given.out, activation_from(name), limits);
}

// Rows (rows, channels), of which all have the same second operand.
Step prelu_rows(const GraphProgram& self, Keywords& k, const ElementwiseArgs& args) {
  const auto shape = checked(k.integers<2>("shape"), "shape");
  const std::int64_t item = args.codes ? 1 : sizeof(float);
  const Unary given(self, k, checked_mul(shape[0], shape[1]), item, item);
  const void* alpha = args.codes
                          ? static_cast<const void*>(k.values<std::int8_t>("alpha", shape[1]))
                          : k.values<float>("alpha", shape[1]);
  return row_step(given.x, given.out, shape[0], shape[1], alpha, args);
}

Step prelu(const GraphProgram& self, Keywords& k) {
  ElementwiseArgs args = operation_of_codes(Elementwise::kPrelu, k);
  args.a_scale = finite(k, "multiplier");
  args.b_scale = finite(k, "negative_multiplier");
  args.a_zero_point = code(k, "zero_point");
  args.b_zero_point = code(k, "alpha_zero_point");
  return prelu_rows(self, k, args);
}

Step prelu_of_floats(const GraphProgram& self, Keywords& k) {
  return prelu_rows(self, k, operation(Elementwise::kPrelu, {}));
}

template <bool codes>
Step resize(const GraphProgram& self, Keywords& k) {
  const auto shape = checked(k.integers<4>("shape"), "shape");
  const auto size = checked(k.integers<2>("size"), "size");
  if (std::max(size[0], size[1]) > kMostResized) bad_argument("size", "at most 2^20");
  const std::string method = k.text("method", "");
  if (method != "nearest" && method != "bilinear") bad_argument("method", "nearest or bilinear");
  const Resize given = {shape[0],
                        shape[1],
                        shape[2],
                        shape[3],
                        size[0],
                        size[1],
                        codes,
                        method == "bilinear",
                        k.flag("align_corners"),
                        k.flag("half_pixel_centers")};
  const std::int64_t item = codes ? 1 : sizeof(float);
  const std::int64_t pixels = checked_mul(shape[0], shape[1], shape[2]);
  const std::int64_t outputs = checked_mul(shape[0], size[0], size[1]);
  const Tensor x = self.tensor("x", k.integer("x"), checked_mul(pixels, shape[3]), item);
  const Tensor out = self.tensor("out", k.integer("out"), checked_mul(outputs, shape[3]), item);
  expect_apart(out, x);
  return resize_step(x, out, given);
}

template <bool codes>
Step softmax_rows(const GraphProgram& self, Keywords& k) {
  const auto shape = checked(k.integers<2>("shape"), "shape");
  const std::int64_t item = codes ? 1 : sizeof(float);
  const Unary given(self, k, checked_mul(shape[0], shape[1]), item, item, false);
  if (!codes) return softmax_f32(given.x, given.out, shape[1]);
  return softmax_s8(given.x, given.out, shape[1], parameters(k, "scale", "zero_point"),
                    parameters(k, "out_scale", "out_zero_point"));
}

Step quantize(const GraphProgram& self, Keywords& k) {
  const Unary given(self, k, count_of(k), sizeof(float), 1, false);
  return quantize_step(given.x, given.out, parameters(k, "scale", "zero_point"));
}

Step dequantize(const GraphProgram& self, Keywords& k) {
  const Unary given(self, k, count_of(k), 1, sizeof(float), false);
  return dequantize_step(given.x, given.out, parameters(k, "scale", "zero_point"));
}

Step copy(const GraphProgram& self, Keywords& k) {
  Copy given = {k.integer("x"), k.integer("out"), k.integers("shape"), k.integers("x_strides"),
                k.integers("out_strides")};
  const std::size_t axes = given.shape.size();
  if (axes == 0 || given.x_strides.size() != axes - 1 || given.out_strides.size() != axes - 1) {
    bad_argument("shape", "one axis more than strides");
  }
  checked(given.shape, "shape");
  for (const auto* strides : {&given.x_strides, &given.out_strides})
    checked(*strides, "strides", 0);
  return copy_step(std::move(given), self.arena_bytes());
}

Step fill(const GraphProgram& self, Keywords& k) {
  const Array value = k.array("value");
  if (value.size() != 1 || !nb::borrow<Dtype>(value.attr("dtype")).is_number()) {
    bad_argument("value", "an array of one number");
  }
  const Tensor out = self.tensor("out", k.integer("out"), count_of(k), value.itemsize());
  return fill_step(out, value.data(), value.itemsize());
}

}  // namespace

const std::vector<StepMaker>& element_steps() {
  static const std::vector<StepMaker> makers = {
      {"add_add", &binary<Elementwise::kAdd>},
      {"add_add_f32", &binary_of_floats<Elementwise::kAdd>},
      {"add_mul", &binary<Elementwise::kMultiply>},
      {"add_mul_f32", &binary_of_floats<Elementwise::kMultiply>},
      {"add_lookup", &lookup},
      {"add_activation_f32", &activation_of_floats},
      {"add_prelu", &prelu},
      {"add_prelu_f32", &prelu_of_floats},
      {"add_resize", &resize<true>},
      {"add_resize_f32", &resize<false>},
      {"add_softmax", &softmax_rows<true>},
      {"add_softmax_f32", &softmax_rows<false>},
      {"add_quantize", &quantize},
      {"add_dequantize", &dequantize},
      {"add_copy", &copy},
      {"add_fill", &fill},
  };
  return makers;
}

}  // namespace octavo
