// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include "bindings/activation_names.h"
#include "bindings/layer_calls.h"
#include "bindings/packed_weight.h"
#include "bindings/register.h"
#include "weights/dense.h"

namespace octavo {
namespace {

LinearOptions make_options(const std::string& activation, bool symmetric,
                           std::optional<float> input_scale, int input_zero_point,
                           std::optional<float> output_scale, int output_zero_point) {
  for (const int point : {input_zero_point, output_zero_point}) {
    if (point < -128 || point > 127) bad_argument("zero points", "values in [-128, 127]");
  }
  LinearOptions options;
  options.activation = activation_from(activation);
  options.symmetric = symmetric;
  options.input_scale = input_scale;
  options.input_zero_point = input_zero_point;
  options.output_scale = output_scale;
  options.output_zero_point = output_zero_point;
  return options;
}

std::shared_ptr<Linear> make_linear(const py::array& codes, const py::array& scale,
                                    const std::optional<py::array>& bias,
                                    const std::string& activation, bool symmetric,
                                    std::optional<float> input_scale, int input_zero_point,
                                    std::optional<float> output_scale, int output_zero_point,
                                    const std::string& format,
                                    const std::optional<py::array>& input_multiplier) {
  const WeightFormat& weight_format = format_named(format);
  const std::int8_t* c = checked_codes(codes, weight_format);
  const py::ssize_t n = codes.shape(0), k = codes.shape(1);
  const float* s = contiguous<float>(scale, 1, "scale");
  if (scale.shape(0) != n) bad_argument("scale", "one value per row of codes");
  const float* b = optional_floats(bias, n, "bias", "one value per row of codes");
  const float* multiplier =
      optional_floats(input_multiplier, k, "input_multiplier", "one value per column of codes");
  const LinearOptions options = make_options(activation, symmetric, input_scale, input_zero_point,
                                             output_scale, output_zero_point);
  return without_gil([&] {
    // Sparse formats count what is not zero, then write as much.
    std::vector<std::int8_t> own;
    if (&weight_format != &weight_formats().front()) c = (own = copied(c, n * k)).data();
    return std::make_shared<Linear>(c, n, k, s, b, options, weight_format, multiplier);
  });
}

std::shared_ptr<Linear> bound(const PackedWeight& packed, const float* scale,
                              const std::optional<py::array>& bias, const LinearOptions& options,
                              const std::optional<py::array>& input_multiplier) {
  const std::int64_t n = packed.weight->n(), k = packed.weight->k();
  const float* b = optional_floats(bias, n, "bias", "one value per output");
  const float* multiplier =
      optional_floats(input_multiplier, k, "input_multiplier", "one value per input");
  return std::make_shared<Linear>(packed.weight, packed.format, scale, b, options, multiplier);
}

std::shared_ptr<Linear> bind_weight(const PackedWeight& packed, const py::array& scale,
                                    const std::optional<py::array>& bias,
                                    const std::string& activation, bool symmetric,
                                    std::optional<float> input_scale, int input_zero_point,
                                    std::optional<float> output_scale, int output_zero_point,
                                    const std::optional<py::array>& input_multiplier) {
  if (packed.weight->group() != 0) bad_argument("weight", "one scale for each output");
  const float* s = contiguous<float>(scale, 1, "scale");
  if (scale.shape(0) != packed.weight->n()) bad_argument("scale", "one value per output");
  const LinearOptions options = make_options(activation, symmetric, input_scale, input_zero_point,
                                             output_scale, output_zero_point);
  return bound(packed, s, bias, options, input_multiplier);
}

// Of a weight that has its scales; rows are quantized in its groups too.
std::shared_ptr<Linear> grouped_linear(const PackedWeight& packed,
                                       const std::optional<py::array>& bias,
                                       const std::string& activation,
                                       std::optional<float> output_scale, int output_zero_point,
                                       const std::optional<py::array>& input_multiplier) {
  if (packed.weight->group() == 0) bad_argument("weight", "scales of groups of inputs");
  const LinearOptions options =
      make_options(activation, true, std::nullopt, 0, output_scale, output_zero_point);
  return bound(packed, nullptr, bias, options, input_multiplier);
}

py::array run_codes(const Linear& self, const py::array& codes, const py::array& scales,
                    const py::array& zero_points, const std::optional<py::array>& residual,
                    const std::optional<py::array>& addend, const std::optional<py::array>& out) {
  if (self.scale() == nullptr) bad_argument("self", "a weight with one scale for each output");
  const Rows<const std::int8_t> in = rows<std::int8_t>(codes, "codes");
  if (codes.shape(1) != self.k()) bad_argument("codes", "as many columns as the layer has inputs");
  const py::ssize_t m = codes.shape(0);
  const float* row_scale = contiguous<float>(scales, 1, "scales");
  const auto* zero_point = contiguous<std::int32_t>(zero_points, 1, "zero_points");
  if (scales.shape(0) != m || zero_points.shape(0) != m) bad_argument("scales", "one per row");
  const Added added = {added_rows(addend, m, self.n(), "addend"),
                       added_rows(residual, m, self.n(), "residual")};
  const Inputs inputs = {codes, scales, zero_points, handle_of(residual), handle_of(addend)};
  py::array y = output_for(self, {m, static_cast<py::ssize_t>(self.n())}, out, inputs);
  const Rows<void> result = {y.mutable_data(), self.n()};
  without_gil([&] { self.run_codes(m, in, row_scale, zero_point, added, result); });
  return y;
}

py::object none_or_floats(const py::object& owner, const float* data, std::int64_t n) {
  return data == nullptr ? py::object(py::none()) : read_only(owner, data, n);
}

// The memory of the layer as writable arrays that keep it alive, for a framework that holds it in
// tensors of its own: codes (panels, groups, 16, 4), or None where the weight is sparse or
// has groups; scale, or None; bias. Scale and bias may be written; codes may not, their column sums
// would no longer fit; where they are a view, their array is read-only.
py::tuple memory(const py::object& self) {
  const auto& linear = self.cast<const Linear&>();
  const auto floats = [&](const float* data) -> py::object {
    if (data == nullptr) return py::none();
    return view_of(self, data, {linear.n()});
  };
  py::object codes = py::none();
  if (const auto* weight = dynamic_cast<const DenseWeight*>(&linear.weight())) {
    codes = view_of(self, weight->panel(0),
                    {weight->panels(), weight->k_groups(), Weight::kPanelWidth, Weight::kGroup});
    if (weight->packed().is_view()) codes.attr("setflags")(false);
  }
  return py::make_tuple(codes, floats(linear.scale()), floats(linear.bias()));
}

}  // namespace

void register_linear(py::module_& m) {
  using namespace pybind11::literals;
  py::class_<Linear, std::shared_ptr<Linear>>(m, "PackedLinear")
      .def(py::init(&make_linear), "codes"_a, "scale"_a, "bias"_a, "activation"_a, "symmetric"_a,
           "input_scale"_a, "input_zero_point"_a, "output_scale"_a, "output_zero_point"_a,
           "format"_a = "dense", "input_multiplier"_a = py::none())
      .def(py::init(&bind_weight), "weight"_a, "scale"_a, "bias"_a, "activation"_a, "symmetric"_a,
           "input_scale"_a, "input_zero_point"_a, "output_scale"_a, "output_zero_point"_a,
           "input_multiplier"_a = py::none())
      .def("call", &call<Linear>, "x"_a, "residual"_a = py::none(), "addend"_a = py::none(),
           "out"_a = py::none())
      .def("run", &run<Linear>, "x"_a, "residual"_a = py::none(), "addend"_a = py::none(),
           "out"_a = py::none())
      .def("run_codes", &run_codes, "codes"_a, "scales"_a, "zero_points"_a,
           "residual"_a = py::none(), "addend"_a = py::none(), "out"_a = py::none())
      .def("memory", &memory)
      .def("unpack", [](const Linear& self) { return unpacked(self.weight()); })
      .def_property_readonly(
          "weight",
          [](const Linear& self) { return PackedWeight{self.shared_weight(), self.format()}; })
      .def_property_readonly("scale",
                             [](py::object self) {
                               const auto& linear = self.cast<const Linear&>();
                               return none_or_floats(self, linear.scale(), linear.n());
                             })
      .def_property_readonly("bias",
                             [](py::object self) {
                               const auto& linear = self.cast<const Linear&>();
                               return none_or_floats(self, linear.bias(), linear.n());
                             })
      .def_property_readonly("input_multiplier",
                             [](py::object self) {
                               const auto& linear = self.cast<const Linear&>();
                               return none_or_floats(self, linear.multiplier(), linear.k());
                             })
      .def_property_readonly("nbytes", &Linear::nbytes)
      .def_property_readonly("shape",
                             [](const Linear& self) { return py::make_tuple(self.n(), self.k()); })
      .def_property_readonly("format", &Linear::format)
      .def_property_readonly("activation", [](const Linear& self) {
        return activation_name(self.options().activation);
      });
  refuse_uninitialised<Linear>();
  m.def("grouped_linear", &grouped_linear, "weight"_a, "bias"_a, "activation"_a, "output_scale"_a,
        "output_zero_point"_a, "input_multiplier"_a = py::none());
}

}  // namespace octavo
