// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include "bindings/activation_names.h"
#include "bindings/gil.h"
#include "bindings/register.h"
#include "bindings/views.h"
#include "ops/linear.h"
#include "ops/matmul.h"
#include "weights/dense.h"
#include "weights/formats.h"
#include "weights/int4.h"

namespace octavo {
namespace {

const WeightFormat& format_named(const std::string& name) {
  const WeightFormat* format = find_weight_format(name);
  if (format == nullptr) throw py::value_error("format: unknown name '" + name + "'");
  return *format;
}

// The elements of codes (n, k) that a format takes.
const std::int8_t* checked_codes(const py::array& codes, const WeightFormat& format) {
  const auto* c = contiguous<std::int8_t>(codes, 2, "codes");
  const py::ssize_t n = codes.shape(0), k = codes.shape(1);
  if (k > format.most_inputs) {
    const std::string most = std::to_string(format.most_inputs);
    bad_argument("codes", ("at most " + most + " columns in the format " + format.name).c_str());
  }
  if (n > (1 << 30)) bad_argument("codes", "at most 2**30 rows");
  return c;
}

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
    return std::make_unique<Linear>(std::make_unique<Int4Weight>(c, s, n, k, group), b, options,
                                    multiplier);
  });
}

// Units of work, at least 1, and bytes of codes in a format, for the tier in use.
py::tuple format_cost(const py::array& codes, const std::string& format) {
  const WeightFormat& weight_format = format_named(format);
  const std::int8_t* c = checked_codes(codes, weight_format);
  const py::ssize_t n = codes.shape(0), k = codes.shape(1);
  const FormatCost cost = without_gil([&] { return weight_format.cost(c, n, k, active_isas()); });
  return py::make_tuple(std::max<std::int64_t>(cost.units, 1), cost.nbytes);
}

std::vector<std::string> format_names() {
  std::vector<std::string> names;
  for (const WeightFormat& format : weight_formats()) names.emplace_back(format.name);
  return names;
}

py::array make_output(const Linear& self, std::vector<py::ssize_t> shape) {
  if (self.options().output_scale) return py::array_t<std::int8_t>(std::move(shape));
  return py::array_t<float>(std::move(shape));
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
bool is_plain_float32(py::handle x) {
  const auto& api = py::detail::npy_api::get();
  if (Py_TYPE(x.ptr()) != api.PyArray_Type_) return false;
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
py::object call(const Linear& self, py::handle x, py::handle residual, py::handle addend) {
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
  py::array out = make_output(self, std::move(shape));
  const Rows<const float> in = {static_cast<const float*>(array.data()), self.k()};
  const Rows<void> result = {out.mutable_data(), self.n()};
  without_gil([&] { self.run(m, in, added, result); });
  return out;
}

py::array run(const Linear& self, const py::array& x, const std::optional<py::array>& residual,
              const std::optional<py::array>& addend) {
  const Rows<const float> in = rows<float>(x, "x");
  if (x.shape(1) != self.k()) bad_argument("x", "as many columns as the layer has inputs");
  const py::ssize_t m = x.shape(0);
  const Added added = {added_rows(addend, m, self.n(), "addend"),
                       added_rows(residual, m, self.n(), "residual")};
  py::array out = make_output(self, {m, static_cast<py::ssize_t>(self.n())});
  const Rows<void> result = {out.mutable_data(), self.n()};
  without_gil([&] { self.run(m, in, added, result); });
  return out;
}

py::array run_codes(const Linear& self, const py::array& codes, const py::array& scales,
                    const py::array& zero_points, const std::optional<py::array>& residual,
                    const std::optional<py::array>& addend) {
  if (self.scale() == nullptr) bad_argument("self", "a weight with one scale for each output");
  const Rows<const std::int8_t> in = rows<std::int8_t>(codes, "codes");
  if (codes.shape(1) != self.k()) bad_argument("codes", "as many columns as the layer has inputs");
  const py::ssize_t m = codes.shape(0);
  const float* row_scale = contiguous<float>(scales, 1, "scales");
  const auto* zero_point = contiguous<std::int32_t>(zero_points, 1, "zero_points");
  if (scales.shape(0) != m || zero_points.shape(0) != m) bad_argument("scales", "one per row");
  const Added added = {added_rows(addend, m, self.n(), "addend"),
                       added_rows(residual, m, self.n(), "residual")};
  py::array out = make_output(self, {m, static_cast<py::ssize_t>(self.n())});
  const Rows<void> result = {out.mutable_data(), self.n()};
  without_gil([&] { self.run_codes(m, in, row_scale, zero_point, added, result); });
  return out;
}

py::array_t<std::int8_t> unpack(const Linear& self) {
  py::array_t<std::int8_t> out({self.n(), self.k()});
  std::int8_t* data = out.mutable_data();
  without_gil([&] { self.weight().unpack(data); });
  return out;
}

// A view into the layer, which stays alive with it.
template <class T>
py::array shared(const py::object& owner, const T* data, std::vector<py::ssize_t> shape) {
  return py::array_t<T>(std::move(shape), data, owner);
}

py::array read_only(const py::object& owner, const float* data, std::int64_t n) {
  py::array array = shared(owner, data, {n});
  array.attr("setflags")(false);
  return array;
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
// longer fit.
py::tuple memory(const py::object& self) {
  const auto& linear = self.cast<const Linear&>();
  const auto floats = [&](const float* data) -> py::object {
    if (data == nullptr) return py::none();
    return shared(self, data, {linear.n()});
  };
  py::object codes = py::none();
  if (const auto* weight = dynamic_cast<const DenseWeight*>(&linear.weight())) {
    codes = shared(self, weight->panel(0),
                   {weight->panels(), weight->k_groups(), Weight::kPanelWidth, Weight::kGroup});
  }
  return py::make_tuple(codes, floats(linear.scale()), floats(linear.bias()));
}

CodeMatrix code_matrix(const py::array& array, const char* name) {
  const bool is_unsigned = has_dtype<std::uint8_t>(array);
  if (array.ndim() != 3 || !(is_unsigned || has_dtype<std::int8_t>(array))) {
    bad_argument(name, "three dimensions of int8 or uint8");
  }
  return {static_cast<const std::uint8_t*>(array.data()), stride_of(array, 1, 1, name),
          stride_of(array, 2, 1, name), is_unsigned};
}

ZeroPoints zero_points(const std::optional<py::array>& array, py::ssize_t count, const char* name) {
  if (!array) return {};
  const auto* data = contiguous<std::int32_t>(*array, 1, name);
  const py::ssize_t size = array->shape(0);
  if (size != 1 && size != count) bad_argument(name, "one value, or one per row or column");
  return {data, size != 1};
}

// Kernels count groups of inputs in 32 bits.
void check_inner(py::ssize_t k) {
  if (k > INT32_MAX - 64) bad_argument("b", "at most 2**31 - 65 rows");
}

void matmul(const py::array& a, const py::array& b, const std::optional<py::array>& a_zero_point,
            const std::optional<py::array>& b_zero_point, py::array out) {
  const CodeMatrix left = code_matrix(a, "a"), right = code_matrix(b, "b");
  const py::ssize_t batch = a.shape(0), m = a.shape(1), k = a.shape(2), n = b.shape(2);
  if (b.shape(0) != batch || b.shape(1) != k) bad_argument("b", "shape (batch, K, N) that fits a");
  if (out.size() != 0) check_inner(k);
  auto* result = writable<std::int32_t>(out, "out");
  if (out.ndim() != 3 || out.shape(0) != batch || out.shape(1) != m || out.shape(2) != n) {
    bad_argument("out", "shape (batch, M, N)");
  }
  check_apart(out, a, "a");
  check_apart(out, b, "b");
  check_apart(out, a_zero_point, "a_zero_point");
  check_apart(out, b_zero_point, "b_zero_point");
  const ZeroPoints a_zero = zero_points(a_zero_point, m, "a_zero_point");
  const ZeroPoints b_zero = zero_points(b_zero_point, n, "b_zero_point");
  const py::ssize_t a_step = stride_of(a, 0, 1, "a"), b_step = stride_of(b, 0, 1, "b");
  without_gil(
      [&] { matmul_int8(batch, m, k, n, left, a_step, right, b_step, a_zero, b_zero, result); });
}

std::unique_ptr<DenseWeight> pack_matrix(const py::array& b) {
  if (b.ndim() != 2 || !has_dtype<std::int8_t>(b)) bad_argument("b", "two dimensions of int8");
  const auto* data = static_cast<const std::uint8_t*>(b.data());
  const py::ssize_t k = b.shape(0), n = b.shape(1), k_stride = stride_of(b, 0, 1, "b"),
                    n_stride = stride_of(b, 1, 1, "b");
  check_inner(k);
  return without_gil([&] {
    return std::make_unique<DenseWeight>(data, k, n, k_stride, n_stride, std::uint8_t{0});
  });
}

void matmul_matrix(const DenseWeight& self, const py::array& a, py::array out) {
  const bool is_unsigned = has_dtype<std::uint8_t>(a);
  if (a.ndim() != 2 || a.shape(1) != self.k() || !(is_unsigned || has_dtype<std::int8_t>(a))) {
    bad_argument("a", "codes with as many columns as the packed matrix has rows");
  }
  auto* result = writable<std::int32_t>(out, "out");
  if (out.ndim() != 2 || out.shape(0) != a.shape(0) || out.shape(1) != self.n()) {
    bad_argument("out", "shape (M, N)");
  }
  check_apart(out, a, "a");
  const CodeMatrix codes = {static_cast<const std::uint8_t*>(a.data()), stride_of(a, 0, 1, "a"),
                            stride_of(a, 1, 1, "a"), is_unsigned};
  const py::ssize_t m = a.shape(0);
  without_gil([&] { matmul_packed(m, codes, self, result); });
}

}  // namespace

void register_linear(py::module_& m) {
  using namespace pybind11::literals;
  py::class_<Linear>(m, "PackedLinear")
      .def(py::init(&make_linear), "codes"_a, "scale"_a, "bias"_a, "activation"_a, "symmetric"_a,
           "input_scale"_a, "input_zero_point"_a, "output_scale"_a, "output_zero_point"_a,
           "format"_a = "dense", "input_multiplier"_a = py::none())
      .def("call", &call, "x"_a, "residual"_a = py::none(), "addend"_a = py::none())
      .def("run", &run, "x"_a, "residual"_a = py::none(), "addend"_a = py::none())
      .def("run_codes", &run_codes, "codes"_a, "scales"_a, "zero_points"_a,
           "residual"_a = py::none(), "addend"_a = py::none())
      .def("memory", &memory)
      .def("unpack", &unpack)
      .def_property_readonly("scale",
                             [](py::object self) {
                               const auto& linear = self.cast<const Linear&>();
                               return weight_scale(self, linear);
                             })
      .def_property_readonly("bias",
                             [](py::object self) -> py::object {
                               const auto& linear = self.cast<const Linear&>();
                               if (linear.bias() == nullptr) return py::none();
                               return read_only(self, linear.bias(), linear.n());
                             })
      .def_property_readonly("input_multiplier",
                             [](py::object self) -> py::object {
                               const auto& linear = self.cast<const Linear&>();
                               if (linear.multiplier() == nullptr) return py::none();
                               return read_only(self, linear.multiplier(), linear.k());
                             })
      .def_property_readonly("nbytes", &Linear::nbytes)
      .def_property_readonly("shape",
                             [](const Linear& self) { return py::make_tuple(self.n(), self.k()); })
      .def_property_readonly("format", &Linear::format)
      .def_property_readonly("activation", [](const Linear& self) {
        return activation_name(self.options().activation);
      });
  py::class_<DenseWeight>(m, "PackedMatrix")
      .def(py::init(&pack_matrix), "b"_a)
      .def("matmul", &matmul_matrix, "a"_a, "out"_a)
      .def_property_readonly("nbytes", &DenseWeight::nbytes)
      .def_property_readonly(
          "shape", [](const DenseWeight& self) { return py::make_tuple(self.k(), self.n()); });
  refuse_uninitialised<Linear>();
  refuse_uninitialised<DenseWeight>();
  m.def("packed_int4", &make_int4, "codes"_a, "scale"_a, "group"_a, "bias"_a, "activation"_a,
        "output_scale"_a, "output_zero_point"_a, "input_multiplier"_a = py::none());
  m.def("format_cost", &format_cost, "codes"_a, "format"_a);
  m.def("weight_formats", &format_names);
  m.def("matmul_int8", &matmul, "a"_a, "b"_a, "a_zero_point"_a, "b_zero_point"_a, "out"_a);
}

}  // namespace octavo
