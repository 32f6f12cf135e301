// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <optional>

#include "bindings/activation_names.h"
#include "bindings/gil.h"
#include "bindings/register.h"
#include "bindings/views.h"
#include "ops/float_rows.h"

namespace octavo {
namespace {

// Output rows of the shape of x.
Rows<float> output_rows(py::array& out, const py::array& x) {
  float* data = writable<float>(out, "out");
  if (out.ndim() != 2 || out.shape(0) != x.shape(0) || out.shape(1) != x.shape(1)) {
    bad_argument("out", "the shape of x");
  }
  return {data, out.shape(1)};
}

const float* optional_vector(const std::optional<py::array>& array, py::ssize_t n,
                             const char* name) {
  if (!array) return nullptr;
  const float* data = contiguous<float>(*array, 1, name);
  if (array->shape(0) != n) bad_argument(name, "one value per column of x");
  return data;
}

void activation(const py::array& x, const std::string& name, py::array out) {
  const float* in = contiguous<float>(x, 1, "x");
  const Activation which = activation_from(name);
  auto* result = writable<float>(out, "out");
  if (out.size() != x.size()) bad_argument("out", "the size of x");
  check_apart(out, x, "x", InPlace::kYes);
  const std::int64_t n = x.size();
  without_gil([&] { activate(which, in, n, result); });
}

void norm(const py::array& x, const std::optional<py::array>& weight,
          const std::optional<py::array>& bias, float eps, const std::optional<py::array>& residual,
          py::array out) {
  const Rows<const float> in = rows<float>(x, "x");
  const py::ssize_t m = x.shape(0), n = x.shape(1);
  const float* w = optional_vector(weight, n, "weight");
  const float* b = optional_vector(bias, n, "bias");
  Rows<const float> added;
  if (residual) {
    added = rows<float>(*residual, "residual");
    if (residual->shape(0) != m || residual->shape(1) != n)
      bad_argument("residual", "the shape of x");
  }
  const Rows<float> result = output_rows(out, x);
  check_apart(out, x, "x", InPlace::kYes);
  check_apart(out, residual, "residual", InPlace::kYes);
  check_apart(out, weight, "weight");
  check_apart(out, bias, "bias");
  without_gil([&] { layer_norm(m, n, in, w, b, eps, added, result); });
}

void softmax_rows(const py::array& x, py::array out) {
  const Rows<const float> in = rows<float>(x, "x");
  const py::ssize_t m = x.shape(0), n = x.shape(1);
  const Rows<float> result = output_rows(out, x);
  check_apart(out, x, "x", InPlace::kYes);
  without_gil([&] { softmax(m, n, in, result); });
}

}  // namespace

void register_nn(py::module_& m) {
  using namespace pybind11::literals;
  m.def("activation", &activation, "x"_a, "name"_a, "out"_a);
  m.def("layer_norm", &norm, "x"_a, "weight"_a, "bias"_a, "eps"_a, "residual"_a, "out"_a);
  m.def("softmax", &softmax_rows, "x"_a, "out"_a);
}

}  // namespace octavo
