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
Rows<float> output_rows(const Array& out, const Array& x) {
  float* data = writable<float>(out, "out");
  if (out.ndim() != 2 || out.shape(0) != x.shape(0) || out.shape(1) != x.shape(1)) {
    bad_argument("out", "the shape of x");
  }
  return {data, out.shape(1)};
}

const float* optional_vector(const std::optional<Array>& array, Py_ssize_t n, const char* name) {
  if (!array) return nullptr;
  const float* data = contiguous<float>(*array, 1, name);
  if (array->shape(0) != n) bad_argument(name, "one value per column of x");
  return data;
}

// Rows of an array of another's shape; none where it is left out.
Rows<const float> rows_like(const std::optional<Array>& array, const Array& other,
                            const char* name) {
  if (!array) return {};
  const Rows<const float> found = rows<float>(*array, name);
  if (array->shape(0) != other.shape(0) || array->shape(1) != other.shape(1)) {
    bad_argument(name, "as many rows and columns as what it goes with");
  }
  return found;
}

void activation(const Array& x, const std::string& name, const Array& out) {
  const float* in = contiguous<float>(x, 1, "x");
  const Activation which = activation_from(name);
  auto* result = writable<float>(out, "out");
  if (out.size() != x.size()) bad_argument("out", "the size of x");
  check_apart(out, x, "x", InPlace::kYes);
  const std::int64_t n = x.size();
  without_gil([&] { activate(which, in, n, result); });
}

void norm(const Array& x, const std::optional<Array>& weight, const std::optional<Array>& bias,
          float eps, const std::optional<Array>& residual, const Array& out) {
  const Rows<const float> in = rows<float>(x, "x");
  const Py_ssize_t m = x.shape(0), n = x.shape(1);
  const float* w = optional_vector(weight, n, "weight");
  const float* b = optional_vector(bias, n, "bias");
  const Rows<const float> added = rows_like(residual, x, "residual");
  const Rows<float> result = output_rows(out, x);
  check_apart(out, x, "x", InPlace::kYes);
  check_apart(out, residual, "residual", InPlace::kYes);
  check_apart(out, weight, "weight");
  check_apart(out, bias, "bias");
  without_gil([&] { layer_norm(m, n, in, w, b, eps, added, result); });
}

void softmax_rows(const Array& x, const Array& out) {
  const Rows<const float> in = rows<float>(x, "x");
  const Py_ssize_t m = x.shape(0), n = x.shape(1);
  const Rows<float> result = output_rows(out, x);
  check_apart(out, x, "x", InPlace::kYes);
  without_gil([&] { softmax(m, n, in, result); });
}

void root_mean_square(const Array& x, const std::optional<Array>& weight, float eps,
                      const std::optional<Array>& addend, const Array& out) {
  const Rows<const float> in = rows<float>(x, "x");
  const Py_ssize_t m = x.shape(0), n = x.shape(1);
  const float* w = optional_vector(weight, n, "weight");
  const Rows<const float> added = rows_like(addend, x, "addend");
  const Rows<float> result = output_rows(out, x);
  check_apart(out, x, "x", InPlace::kYes);
  check_apart(out, addend, "addend", InPlace::kYes);
  check_apart(out, weight, "weight");
  without_gil([&] { rms_norm(m, n, in, w, eps, added, result); });
}

void rotary_embedding(const Array& x, const Array& cosine, const Array& sine,
                      const Array& positions, std::int64_t heads, const Array& out) {
  const Rows<const float> in = rows<float>(x, "x");
  const Py_ssize_t m = x.shape(0), width = x.shape(1);
  if (heads < 1 || width % heads != 0) bad_argument("heads", "a divisor of the columns of x");
  const RotaryTable table = {contiguous<float>(cosine, 2, "cosine"),
                             contiguous<float>(sine, 2, "sine"), cosine.shape(1)};
  if (2 * table.pairs > width / heads) bad_argument("cosine", "pairs that a head has");
  if (sine.shape(0) != cosine.shape(0) || sine.shape(1) != table.pairs) {
    bad_argument("sine", "the shape of cosine");
  }
  const auto* places = contiguous<std::int64_t>(positions, 1, "positions");
  const std::vector<std::int64_t> known = copied(places, positions.shape(0));
  const bool in_table = std::all_of(known.begin(), known.end(), [&](std::int64_t position) {
    return position >= 0 && position < cosine.shape(0);
  });
  if (positions.shape(0) != m || !in_table) {
    bad_argument("positions", "a row of the table for each row of x");
  }
  const Rows<float> result = output_rows(out, x);
  check_apart(out, x, "x", InPlace::kYes);
  check_apart(out, cosine, "cosine");
  check_apart(out, sine, "sine");
  without_gil([&] { rotary(m, heads, width / heads, in, table, known.data(), result); });
}

void gated_activation(const Array& gate, const Array& x, const std::string& name,
                      const Array& out) {
  const Rows<const float> gates = rows<float>(gate, "gate"), in = rows_like(x, gate, "x");
  const Activation which = activation_from(name);
  const Py_ssize_t m = gate.shape(0), n = gate.shape(1);
  const Rows<float> result = output_rows(out, gate);
  check_apart(out, gate, "gate", InPlace::kYes);
  check_apart(out, x, "x", InPlace::kYes);
  without_gil([&] { gated(which, m, n, gates, in, result); });
}

}  // namespace

void register_nn(nb::module_& m) {
  using namespace nanobind::literals;
  m.def("activation", &activation, "x"_a, "name"_a, "out"_a);
  m.def("gated", &gated_activation, "gate"_a, "x"_a, "name"_a, "out"_a);
  m.def("layer_norm", &norm, "x"_a, "weight"_a, "bias"_a, "eps"_a, "residual"_a, "out"_a);
  m.def("rms_norm", &root_mean_square, "x"_a, "weight"_a, "eps"_a, "addend"_a, "out"_a);
  m.def("rotary", &rotary_embedding, "x"_a, "cosine"_a, "sine"_a, "positions"_a, "heads"_a,
        "out"_a);
  m.def("softmax", &softmax_rows, "x"_a, "out"_a);
}

}  // namespace octavo
