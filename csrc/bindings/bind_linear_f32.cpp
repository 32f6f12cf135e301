// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "bindings/activation_names.h"
#include "bindings/layer_calls.h"
#include "bindings/packed_weight.h"
#include "bindings/register.h"

namespace octavo {
namespace {

using Panels = std::shared_ptr<PanelsF32>;

Panels pack(const py::array& values) {
  const float* data = contiguous<float>(values, 2, "values");
  const py::ssize_t n = values.shape(0), k = values.shape(1);
  return without_gil([&] { return std::make_shared<PanelsF32>(data, n, k); });
}

// A view of what packed() gave, here or in another process; nobody may write to it any more.
Panels attach(const py::array& packed, std::int64_t n) {
  contiguous<float>(packed, 3, "packed");
  if (n < 0 || packed.shape(0) != ceil_div(n, PanelsF32::kWidth) ||
      packed.shape(2) != PanelsF32::kWidth) {
    bad_argument("packed", "shape (panels, k, 16), a panel for every 16 of n");
  }
  return std::make_shared<PanelsF32>(bytes_of(packed), n, packed.shape(1));
}

// (panels, k, 16); writable where it is the weight's own memory.
py::array packed(const py::object& self) {
  const auto& weight = *self.cast<Panels>();
  py::array view =
      view_of(self, weight.packed().as<float>(), {weight.panels(), weight.k(), PanelsF32::kWidth});
  if (weight.packed().is_view()) view.attr("setflags")(false);
  return view;
}

py::array_t<float> unpack(const PanelsF32& self, std::int64_t begin, std::int64_t end) {
  if (begin < 0 || end < begin || end > self.n()) bad_argument("begin, end", "rows that there are");
  py::array_t<float> out({end - begin, self.k()});
  float* data = out.mutable_data();
  without_gil([&] { self.unpack(begin, end, data); });
  return out;
}

std::shared_ptr<LinearF32> make_linear(const Panels& weight, const std::optional<py::array>& bias,
                                       const std::string& activation,
                                       const std::optional<py::array>& input_multiplier) {
  const float* b = optional_floats(bias, weight->n(), "bias", "one value per output");
  const float* multiplier =
      optional_floats(input_multiplier, weight->k(), "input_multiplier", "one value per input");
  return std::make_shared<LinearF32>(weight, b, activation_from(activation), multiplier);
}

}  // namespace

void register_linear_f32(py::module_& m) {
  using namespace pybind11::literals;
  py::class_<PanelsF32, Panels>(m, "PackedF32")
      .def(py::init(&pack), "values"_a)
      .def(py::init(&attach), "packed"_a, "n"_a)
      .def("unpack", &unpack, "begin"_a, "end"_a)
      .def_property_readonly("packed", &packed)
      .def_property_readonly(
          "shape", [](const PanelsF32& self) { return py::make_tuple(self.n(), self.k()); })
      .def_property_readonly("nbytes", &PanelsF32::nbytes);
  refuse_uninitialised<PanelsF32>();
  py::class_<LinearF32, std::shared_ptr<LinearF32>>(m, "LinearF32")
      .def(py::init(&make_linear), "weight"_a, "bias"_a, "activation"_a, "input_multiplier"_a)
      .def("call", &call<LinearF32>, "x"_a, "residual"_a = py::none(), "addend"_a = py::none(),
           "out"_a = py::none())
      .def("run", &run<LinearF32>, "x"_a, "residual"_a = py::none(), "addend"_a = py::none(),
           "out"_a = py::none());
  refuse_uninitialised<LinearF32>();
}

}  // namespace octavo
