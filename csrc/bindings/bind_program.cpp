// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "bindings/gil.h"
#include "bindings/offsets.h"
#include "bindings/register.h"
#include "bindings/results.h"
#include "bindings/views.h"
#include "ops/linear_f32.h"
#include "ops/program.h"

namespace octavo {
namespace {

using Value = Program::Value;

// Refuses the number that stands for None.
Value value_of(const std::optional<Value>& value, const char* name) {
  if (value == Program::kNone) bad_argument(name, "a value, or None");
  return value.value_or(Program::kNone);
}

template <class Layer>
Value add_linear(Program& self, std::shared_ptr<Layer> layer, Value x,
                 const std::optional<Value>& addend, const std::optional<Value>& residual) {
  return self.add_linear(std::move(layer), x, value_of(addend, "addend"),
                         value_of(residual, "residual"));
}

Value add_norm(Program& self, const py::array& weight, const std::optional<py::array>& bias,
               float eps, Value x, const std::optional<Value>& residual) {
  Program::Norm norm = {contiguous<float>(weight, 1, "weight"), nullptr, eps};
  if (bias) {
    norm.bias = contiguous<float>(*bias, 1, "bias");
    if (bias->shape(0) != weight.shape(0)) bad_argument("bias", "one value per weight");
  }
  return self.add_layer_norm(norm, weight.shape(0), x, value_of(residual, "residual"));
}

Value add_attention(Program& self, Value q, Value k, Value v, std::int64_t heads, float sm_scale,
                    bool int8, bool biased) {
  if (!(sm_scale >= 0.0f)) bad_argument("sm_scale", "at least 0");
  return self.add_attention({heads, sm_scale, int8, biased}, q, k, v);
}

struct Sequences {
  std::vector<std::int64_t> offsets;
  std::int64_t longest = 0;

  Sequences(const py::array& starts, py::ssize_t rows) : offsets(row_offsets(starts, rows)) {
    longest = longest_of(offsets);
    constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
    if (longest > kMost) bad_argument("offsets", "sequences of fewer rows");
  }
  std::int64_t count() const { return static_cast<std::int64_t>(offsets.size()) - 1; }
};

ScoreBias bias_for(const Program& program, const std::optional<py::array>& bias,
                   std::int64_t longest) {
  const std::int64_t heads = program.biased_heads();
  if (heads == 0) {
    if (bias) bad_argument("bias", "none, which no step has");
    return {nullptr, 0, 0};
  }
  if (!bias || !has_dtype<float>(*bias) || bias->ndim() != 3 || !is_contiguous(*bias) ||
      (bias->shape(0) != heads && bias->shape(0) != 1) || bias->shape(1) < longest ||
      bias->shape(2) < longest) {
    bad_argument("bias", "C-contiguous aligned float32 of shape (H or 1, T, T)");
  }
  const std::int64_t per_head = bias->shape(0) == 1 ? 0 : bias->shape(1) * bias->shape(2);
  return {static_cast<const float*>(bias->data()), per_head, bias->shape(2)};
}

py::array run(const Program& self, const py::array& x, const py::array& offsets,
              const std::optional<py::array>& bias) {
  if (self.output_width() == 0) bad_argument("self", "a program with a result");
  const float* in = contiguous<float>(x, 2, "x");
  if (x.shape(1) != self.input_width()) bad_argument("x", "as many columns as the program reads");
  const Sequences sequences(offsets, x.shape(0));
  const ScoreBias added = bias_for(self, bias, sequences.longest);
  py::array out = new_result({x.shape(0), static_cast<py::ssize_t>(self.output_width())},
                             py::dtype::of<float>());
  auto* data = static_cast<float*>(out.mutable_data());
  without_gil([&] { self.run(sequences.offsets.data(), sequences.count(), added, in, data); });
  return out;
}

}  // namespace

void register_program(py::module_& m) {
  using namespace pybind11::literals;
  py::class_<Program>(m, "Program")
      .def(py::init<std::int64_t>(), "width"_a)
      .def("linear", &add_linear<Linear>, py::arg("layer").none(false), "x"_a, "addend"_a,
           "residual"_a)
      .def("linear", &add_linear<LinearF32>, py::arg("layer").none(false), "x"_a, "addend"_a,
           "residual"_a)
      .def("layer_norm", &add_norm, "weight"_a, "bias"_a, "eps"_a, "x"_a, "residual"_a,
           py::keep_alive<1, 2>(), py::keep_alive<1, 3>())
      .def("attention", &add_attention, "q"_a, "k"_a, "v"_a, "heads"_a, "sm_scale"_a, "int8"_a,
           "biased"_a)
      .def("finish", &Program::finish, "result"_a)
      .def("run", &run, "x"_a, "offsets"_a, "bias"_a);
  refuse_uninitialised<Program>();
}

}  // namespace octavo
