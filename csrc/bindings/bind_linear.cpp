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

void make_linear(Linear* self, const Array& codes, const Array& scale,
                 const std::optional<Array>& bias, const std::string& activation, bool symmetric,
                 std::optional<float> input_scale, int input_zero_point,
                 std::optional<float> output_scale, int output_zero_point,
                 const std::string& format, const std::optional<Array>& input_multiplier) {
  const WeightFormat& weight_format = format_named(format);
  const std::int8_t* c = checked_codes(codes, weight_format);
  const Py_ssize_t n = codes.shape(0), k = codes.shape(1);
  const float* s = contiguous<float>(scale, 1, "scale");
  if (scale.shape(0) != n) bad_argument("scale", "one value per row of codes");
  const float* b = optional_floats(bias, n, "bias", "one value per row of codes");
  const float* multiplier =
      optional_floats(input_multiplier, k, "input_multiplier", "one value per column of codes");
  const LinearOptions options = make_options(activation, symmetric, input_scale, input_zero_point,
                                             output_scale, output_zero_point);
  new (self) Linear(without_gil([&] {
    // Sparse formats count what is not zero, then write as much.
    std::vector<std::int8_t> own;
    if (&weight_format != &weight_formats().front()) c = (own = copied(c, n * k)).data();
    return Linear(c, n, k, s, b, options, weight_format, multiplier);
  }));
}

Linear bound(const PackedWeight& packed, const float* scale, const std::optional<Array>& bias,
             const LinearOptions& options, const std::optional<Array>& input_multiplier) {
  const std::int64_t n = packed.weight->n(), k = packed.weight->k();
  const float* b = optional_floats(bias, n, "bias", "one value per output");
  const float* multiplier =
      optional_floats(input_multiplier, k, "input_multiplier", "one value per input");
  return Linear(packed.weight, packed.format, scale, b, options, multiplier);
}

void bind_weight(Linear* self, const PackedWeight& packed, const Array& scale,
                 const std::optional<Array>& bias, const std::string& activation, bool symmetric,
                 std::optional<float> input_scale, int input_zero_point,
                 std::optional<float> output_scale, int output_zero_point,
                 const std::optional<Array>& input_multiplier) {
  if (packed.weight->group() != 0) bad_argument("weight", "one scale for each output");
  const float* s = contiguous<float>(scale, 1, "scale");
  if (scale.shape(0) != packed.weight->n()) bad_argument("scale", "one value per output");
  const LinearOptions options = make_options(activation, symmetric, input_scale, input_zero_point,
                                             output_scale, output_zero_point);
  new (self) Linear(bound(packed, s, bias, options, input_multiplier));
}

// Of a weight that has its scales; rows are quantized in its groups too.
Linear grouped_linear(const PackedWeight& packed, const std::optional<Array>& bias,
                      const std::string& activation, std::optional<float> output_scale,
                      int output_zero_point, const std::optional<Array>& input_multiplier) {
  if (packed.weight->group() == 0) bad_argument("weight", "scales of groups of inputs");
  const LinearOptions options =
      make_options(activation, true, std::nullopt, 0, output_scale, output_zero_point);
  return bound(packed, nullptr, bias, options, input_multiplier);
}

Array run_codes(const Linear& self, const Array& codes, const Array& scales,
                const Array& zero_points, const std::optional<Array>& residual,
                const std::optional<Array>& addend, const std::optional<Array>& out) {
  if (self.scale() == nullptr) bad_argument("self", "a weight with one scale for each output");
  const Rows<const std::int8_t> in = rows<std::int8_t>(codes, "codes");
  if (codes.shape(1) != self.k()) bad_argument("codes", "as many columns as the layer has inputs");
  const Py_ssize_t m = codes.shape(0);
  const float* row_scale = contiguous<float>(scales, 1, "scales");
  const auto* zero_point = contiguous<std::int32_t>(zero_points, 1, "zero_points");
  if (scales.shape(0) != m || zero_points.shape(0) != m) bad_argument("scales", "one per row");
  const Added added = {added_rows(addend, m, self.n(), "addend"),
                       added_rows(residual, m, self.n(), "residual")};
  const Inputs inputs = {codes, scales, zero_points, handle_of(residual), handle_of(addend)};
  Array y = output_for(self, {m, static_cast<Py_ssize_t>(self.n())}, out, inputs);
  const Rows<void> result = {y.data(), self.n()};
  without_gil([&] { self.run_codes(m, in, row_scale, zero_point, added, result); });
  return y;
}

using Self = nb::pointer_and_handle<Linear>;

nb::object none_or_floats(nb::handle owner, const float* data, std::int64_t n) {
  if (data == nullptr) return nb::none();
  return read_only(owner, data, n);
}

// The memory of the layer as writable arrays that keep it alive, for a framework that holds it in
// tensors of its own: codes (panels, groups, 16, 4), or None where the weight is sparse or
// has groups; scale, or None; bias. Scale and bias may be written; codes may not, their column sums
// would no longer fit; where they are a view, their array is read-only.
nb::tuple memory(Self self) {
  const Linear& linear = *self.p;
  const auto floats = [&](const float* data) -> nb::object {
    if (data == nullptr) return nb::none();
    return view_of(self.h, data, {linear.n()});
  };
  nb::object codes = nb::none();
  if (const auto* weight = dynamic_cast<const DenseWeight*>(&linear.weight())) {
    const Array view =
        view_of(self.h, weight->panel(0),
                {weight->panels(), weight->k_groups(), Weight::kPanelWidth, Weight::kGroup});
    if (weight->packed().is_view()) view.make_read_only();
    codes = view;
  }
  return nb::make_tuple(codes, floats(linear.scale()), floats(linear.bias()));
}

}  // namespace

void register_linear(nb::module_& m) {
  using namespace nanobind::literals;
  nb::class_<Linear>(m, "PackedLinear")
      .def("__init__", &make_linear, "codes"_a, "scale"_a, "bias"_a, "activation"_a, "symmetric"_a,
           "input_scale"_a, "input_zero_point"_a, "output_scale"_a, "output_zero_point"_a,
           "format"_a = "dense", "input_multiplier"_a = nb::none())
      .def("__init__", &bind_weight, "weight"_a, "scale"_a, "bias"_a, "activation"_a, "symmetric"_a,
           "input_scale"_a, "input_zero_point"_a, "output_scale"_a, "output_zero_point"_a,
           "input_multiplier"_a = nb::none())
      .def("call", &call<Linear>, "x"_a.none(), "residual"_a = nb::none(), "addend"_a = nb::none(),
           "out"_a = nb::none())
      .def("run", &run<Linear>, "x"_a, "residual"_a = nb::none(), "addend"_a = nb::none(),
           "out"_a = nb::none())
      .def("run_codes", &run_codes, "codes"_a, "scales"_a, "zero_points"_a,
           "residual"_a = nb::none(), "addend"_a = nb::none(), "out"_a = nb::none())
      .def("memory", &memory)
      .def("unpack", [](const Linear& self) { return unpacked(self.weight()); })
      .def_prop_ro(
          "weight",
          [](const Linear& self) { return PackedWeight{self.shared_weight(), self.format()}; })
      .def_prop_ro("scale",
                   [](Self self) { return none_or_floats(self.h, self.p->scale(), self.p->n()); })
      .def_prop_ro("bias",
                   [](Self self) { return none_or_floats(self.h, self.p->bias(), self.p->n()); })
      .def_prop_ro(
          "input_multiplier",
          [](Self self) { return none_or_floats(self.h, self.p->multiplier(), self.p->k()); })
      .def_prop_ro("nbytes", &Linear::nbytes)
      .def_prop_ro("shape", [](const Linear& self) { return nb::make_tuple(self.n(), self.k()); })
      .def_prop_ro("format", &Linear::format)
      .def_prop_ro("activation",
                   [](const Linear& self) { return activation_name(self.options().activation); });
  m.def("grouped_linear", &grouped_linear, "weight"_a, "bias"_a, "activation"_a, "output_scale"_a,
        "output_zero_point"_a, "input_multiplier"_a = nb::none());
}

}  // namespace octavo
