// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <initializer_list>
#include <memory>
#include <optional>
#include <vector>

#include "bindings/activation_names.h"
#include "bindings/gil.h"
#include "bindings/packed_weight.h"
#include "bindings/register.h"
#include "bindings/results.h"
#include "bindings/views.h"
#include "ops/linear.h"
#include "weights/dense.h"
#include "weights/int4.h"

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

const float* optional_floats(const std::optional<py::array>& array, py::ssize_t size,
                             const char* name, const char* expected) {
  if (!array) return nullptr;
  const float* data = contiguous<float>(*array, 1, name);
  if (array->shape(0) != size) bad_argument(name, expected);
  return data;
}

std::unique_ptr<Linear> make_linear(const py::array& codes, const py::array& scale,
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
    return std::make_unique<Linear>(c, n, k, s, b, options, weight_format, multiplier);
  });
}

std::unique_ptr<Linear> bound(const PackedWeight& packed, const float* scale,
                              const std::optional<py::array>& bias, const LinearOptions& options,
                              const std::optional<py::array>& input_multiplier) {
  const std::int64_t n = packed.weight->n(), k = packed.weight->k();
  const float* b = optional_floats(bias, n, "bias", "one value per output");
  const float* multiplier =
      optional_floats(input_multiplier, k, "input_multiplier", "one value per input");
  return std::make_unique<Linear>(packed.weight, packed.format, scale, b, options, multiplier);
}

std::unique_ptr<Linear> bind_weight(const PackedWeight& packed, const py::array& scale,
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

// 4-bit codes with a scale for each group of inputs; rows are quantized by groups too.
std::unique_ptr<Linear> make_int4(const py::array& codes, const py::array& scale,
                                  std::int64_t group, const std::optional<py::array>& bias,
                                  const std::string& activation, std::optional<float> output_scale,
                                  int output_zero_point,
                                  const std::optional<py::array>& input_multiplier) {
  if (!Int4Weight::is_group(group)) bad_argument("group", "32, 64 or 128");
  const auto* c = contiguous<std::int8_t>(codes, 2, "codes");
  const py::ssize_t n = codes.shape(0), k = codes.shape(1);
  if (n > (1 << 30) || k > (1 << 30)) bad_argument("codes", "at most 2**30 rows and columns");
  const float* s = contiguous<float>(scale, 2, "scale");
  if (scale.shape(0) != n || scale.shape(1) != ceil_div(k, group)) {
    bad_argument("scale", "one value per row and group of codes");
  }
  const float* b = optional_floats(bias, n, "bias", "one value per row of codes");
  const float* multiplier =
      optional_floats(input_multiplier, k, "input_multiplier", "one value per column of codes");
  const LinearOptions options =
      make_options(activation, true, std::nullopt, 0, output_scale, output_zero_point);
  return without_gil([&] {
    // Another thread may still write to them: packing takes 4 bits of each, whatever they are.
    for (py::ssize_t row = 0; row < n; ++row) {
      interruption_point();
      const auto fits = [](std::int8_t code) { return code >= -8 && code < 8; };
      if (!std::all_of(c + row * k, c + (row + 1) * k, fits)) {
        bad_argument("codes", "values in [-8, 7]");
      }
    }
    return std::make_unique<Linear>(std::make_unique<Int4Weight>(c, s, n, k, group),
                                    weight_formats().front().name, nullptr, b, options, multiplier);
  });
}

// The same of a packed weight, which has its scales.
std::unique_ptr<Linear> bind_int4(const PackedWeight& packed, const py::array& /*scale*/,
                                  std::int64_t group, const std::optional<py::array>& bias,
                                  const std::string& activation, std::optional<float> output_scale,
                                  int output_zero_point,
                                  const std::optional<py::array>& input_multiplier) {
  if (group == 0 || packed.weight->group() != group) bad_argument("group", "that of the weight");
  const LinearOptions options =
      make_options(activation, true, std::nullopt, 0, output_scale, output_zero_point);
  return bound(packed, nullptr, bias, options, input_multiplier);
}

py::array make_output(const Linear& self, std::vector<py::ssize_t> shape) {
  if (self.options().output_scale)
    return new_result(std::move(shape), py::dtype::of<std::int8_t>());
  return new_result(std::move(shape), py::dtype::of<float>());
}

using Inputs = std::initializer_list<py::handle>;

// Whether the output may go there: nothing that is read then changes. Inputs may be null or None.
bool can_take_output(const Linear& self, const py::array& out,
                     const std::vector<py::ssize_t>& shape, Inputs inputs) {
  const bool typed =
      self.options().output_scale ? has_dtype<std::int8_t>(out) : has_dtype<float>(out);
  const bool shaped = out.ndim() == static_cast<py::ssize_t>(shape.size()) &&
                      std::equal(shape.begin(), shape.end(), out.shape());
  return typed && shaped && is_contiguous(out) && out.writeable() &&
         std::none_of(inputs.begin(), inputs.end(), [&](py::handle in) {
           return in && !in.is_none() && overlap(out, py::reinterpret_borrow<py::array>(in));
         });
}

py::array output_for(const Linear& self, std::vector<py::ssize_t> shape,
                     const std::optional<py::array>& out, Inputs inputs) {
  if (!out) return make_output(self, std::move(shape));
  if (!can_take_output(self, *out, shape, inputs)) {
    bad_argument("out", "writable memory of the layer's output, apart from all inputs");
  }
  return *out;
}

py::handle handle_of(const std::optional<py::array>& array) {
  return array ? py::handle(*array) : py::handle();
}

Rows<const float> added_rows(const std::optional<py::array>& values, py::ssize_t m, py::ssize_t n,
                             const char* name) {
  if (!values) return {};
  if (values->ndim() != 2 || values->shape(0) != m || values->shape(1) != n) {
    bad_argument(name, "the shape of the output");
  }
  return rows<float>(*values, name);
}

// Subclasses (masked arrays, say) mean something else by their elements and take the long way.
bool is_plain(py::handle x) { return Py_TYPE(x.ptr()) == py::detail::npy_api::get().PyArray_Type_; }

bool is_plain_float32(py::handle x) {
  if (!is_plain(x)) return false;
  const auto array = py::reinterpret_borrow<py::array>(x);
  return is_contiguous(array) && has_dtype<float>(array);
}

// Whether `values` is None or a plain array of `shape`, which is then put into `added`.
bool take_plain(py::handle values, const std::vector<py::ssize_t>& shape,
                Rows<const float>& added) {
  if (values.is_none()) return true;
  if (!is_plain_float32(values)) return false;
  const auto array = py::reinterpret_borrow<py::array>(values);
  const auto ndim = static_cast<py::ssize_t>(shape.size());
  if (array.ndim() != ndim || !std::equal(shape.begin(), shape.end(), array.shape())) return false;
  added = {static_cast<const float*>(array.data()), shape.back()};
  return true;
}

// The shape is known to end in k. Everything else than plain arrays goes the long way in Python.
py::object call(const Linear& self, py::handle x, py::handle residual, py::handle addend,
                py::handle out) {
  if (!is_plain_float32(x)) return py::none();
  const auto array = py::reinterpret_borrow<py::array>(x);
  const py::ssize_t ndim = array.ndim();
  if (ndim < 1 || array.shape(ndim - 1) != self.k()) return py::none();
  std::vector<py::ssize_t> shape(array.shape(), array.shape() + ndim);
  shape.back() = self.n();
  std::int64_t m = 1;
  for (py::ssize_t i = 0; i + 1 < ndim; ++i) m *= shape[static_cast<std::size_t>(i)];
  Added added;
  if (!take_plain(residual, shape, added.after)) return py::none();
  if (!take_plain(addend, shape, added.before)) return py::none();
  std::optional<py::array> given;
  if (!out.is_none()) {
    if (!is_plain(out)) return py::none();
    given = py::reinterpret_borrow<py::array>(out);
    if (!can_take_output(self, *given, shape, {x, residual, addend})) return py::none();
  }
  py::array y = given ? *given : make_output(self, std::move(shape));
  const Rows<const float> in = {static_cast<const float*>(array.data()), self.k()};
  const Rows<void> result = {y.mutable_data(), self.n()};
  without_gil([&] { self.run(m, in, added, result); });
  return y;
}

py::array run(const Linear& self, const py::array& x, const std::optional<py::array>& residual,
              const std::optional<py::array>& addend, const std::optional<py::array>& out) {
  const Rows<const float> in = rows<float>(x, "x");
  if (x.shape(1) != self.k()) bad_argument("x", "as many columns as the layer has inputs");
  const py::ssize_t m = x.shape(0);
  const Added added = {added_rows(addend, m, self.n(), "addend"),
                       added_rows(residual, m, self.n(), "residual")};
  const Inputs inputs = {x, handle_of(residual), handle_of(addend)};
  py::array y = output_for(self, {m, static_cast<py::ssize_t>(self.n())}, out, inputs);
  const Rows<void> result = {y.mutable_data(), self.n()};
  without_gil([&] { self.run(m, in, added, result); });
  return y;
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

// (n,), or (n, groups) where inputs come in groups.
py::array weight_scale(const py::object& owner, const Linear& linear) {
  const auto* weight = dynamic_cast<const Int4Weight*>(&linear.weight());
  if (weight == nullptr) return read_only(owner, linear.scale(), linear.n());
  py::array_t<float> scales({weight->n(), weight->groups()});
  weight->unpack_scales(scales.mutable_data());
  scales.attr("setflags")(false);
  return scales;
}

// The memory of the layer as writable arrays that keep it alive, for a framework that holds it in
// tensors of its own: codes (panels, groups, 16, 4), or None where the weight is sparse or has 4
// bits; scale; bias. Scale and bias may be written; codes may not, their column sums would no
// longer fit; where they are a view, their array is read-only.
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
  py::class_<Linear>(m, "PackedLinear")
      .def(py::init(&make_linear), "codes"_a, "scale"_a, "bias"_a, "activation"_a, "symmetric"_a,
           "input_scale"_a, "input_zero_point"_a, "output_scale"_a, "output_zero_point"_a,
           "format"_a = "dense", "input_multiplier"_a = py::none())
      .def(py::init(&bind_weight), "weight"_a, "scale"_a, "bias"_a, "activation"_a, "symmetric"_a,
           "input_scale"_a, "input_zero_point"_a, "output_scale"_a, "output_zero_point"_a,
           "input_multiplier"_a = py::none())
      .def("call", &call, "x"_a, "residual"_a = py::none(), "addend"_a = py::none(),
           "out"_a = py::none())
      .def("run", &run, "x"_a, "residual"_a = py::none(), "addend"_a = py::none(),
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
                               return weight_scale(self, linear);
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
  m.def("packed_int4", &make_int4, "codes"_a, "scale"_a, "group"_a, "bias"_a, "activation"_a,
        "output_scale"_a, "output_zero_point"_a, "input_multiplier"_a = py::none());
  m.def("packed_int4", &bind_int4, "weight"_a, "scale"_a, "group"_a, "bias"_a, "activation"_a,
        "output_scale"_a, "output_zero_point"_a, "input_multiplier"_a = py::none());
}

}  // namespace octavo
