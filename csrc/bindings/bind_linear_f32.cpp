// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "bindings/activation_names.h"
#include "bindings/layer_calls.h"
#include "bindings/packed_weight.h"
#include "bindings/register.h"

namespace octavo {
namespace {

using Panels = std::shared_ptr<PanelsF32>;

void pack(PanelsF32* self, const Array& values) {
  const float* data = contiguous<float>(values, 2, "values");
  const Py_ssize_t n = values.shape(0), k = values.shape(1);
  new (self) PanelsF32(without_gil([&] { return PanelsF32(data, n, k); }));
}

// A view of what packed() gave, here or in another process; nobody may write to it any more.
void attach(PanelsF32* self, const Array& packed, std::int64_t n) {
  contiguous<float>(packed, 3, "packed");
  if (n < 0 || packed.shape(0) != ceil_div(n, PanelsF32::kWidth) ||
      packed.shape(2) != PanelsF32::kWidth) {
    bad_argument("packed", "shape (panels, k, 16), a panel for every 16 of n");
  }
  new (self) PanelsF32(bytes_of(packed), n, packed.shape(1));
}

// (panels, k, 16); writable where it is the weight's own memory.
Array packed(nb::pointer_and_handle<PanelsF32> self) {
  const PanelsF32& weight = *self.p;
  Array view = view_of(self.h, weight.packed().as<float>(),
                       {weight.panels(), weight.k(), PanelsF32::kWidth});
  if (weight.packed().is_view()) view.make_read_only();
  return view;
}

Array unpack(const PanelsF32& self, std::int64_t begin, std::int64_t end) {
  if (begin < 0 || end < begin || end > self.n()) bad_argument("begin, end", "rows that there are");
  Array out = new_array<float>({end - begin, self.k()});
  auto* data = out.as<float>();
  without_gil([&] { self.unpack(begin, end, data); });
  return out;
}

void make_linear(LinearF32* self, const Panels& weight, const std::optional<Array>& bias,
                 const std::string& activation, const std::optional<Array>& input_multiplier) {
  const float* b = optional_floats(bias, weight->n(), "bias", "one value per output");
  const float* multiplier =
      optional_floats(input_multiplier, weight->k(), "input_multiplier", "one value per input");
  new (self) LinearF32(weight, b, activation_from(activation), multiplier);
}

}  // namespace

void register_linear_f32(nb::module_& m) {
  using namespace nanobind::literals;
  nb::class_<PanelsF32>(m, "PackedF32")
      .def("__init__", &pack, "values"_a)
      .def("__init__", &attach, "packed"_a, "n"_a)
      .def("unpack", &unpack, "begin"_a, "end"_a)
      .def_prop_ro("packed", &packed)
      .def_prop_ro("shape",
                   [](const PanelsF32& self) { return nb::make_tuple(self.n(), self.k()); })
      .def_prop_ro("nbytes", &PanelsF32::nbytes);
  nb::class_<LinearF32>(m, "LinearF32")
      .def("__init__", &make_linear, "weight"_a, "bias"_a, "activation"_a, "input_multiplier"_a)
      .def("call", &call<LinearF32>, "x"_a.none(), "residual"_a = nb::none(),
           "addend"_a = nb::none(), "out"_a = nb::none())
      .def("run", &run<LinearF32>, "x"_a, "residual"_a = nb::none(), "addend"_a = nb::none(),
           "out"_a = nb::none());
}

}  // namespace octavo
