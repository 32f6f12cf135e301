// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/activation_names.h"
#include "bindings/caches.h"
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

Value add_layer_norm(Program& self, const Array& weight, const std::optional<Array>& bias,
                     float eps, Value x, const std::optional<Value>& residual) {
  Program::LayerNorm norm = {contiguous<float>(weight, 1, "weight"), nullptr, eps};
  if (bias) {
    norm.bias = contiguous<float>(*bias, 1, "bias");
    if (bias->shape(0) != weight.shape(0)) bad_argument("bias", "one value per weight");
  }
  return self.add_layer_norm(norm, weight.shape(0), x, value_of(residual, "residual"));
}

Value add_rms_norm(Program& self, const Array& weight, float eps, Value x,
                   const std::optional<Value>& addend) {
  const Program::RmsNorm norm = {contiguous<float>(weight, 1, "weight"), weight.shape(0), eps};
  return self.add_rms_norm(norm, x, value_of(addend, "addend"));
}

Value add_gated(Program& self, Value gate, Value x, const std::string& name) {
  return self.add_gated(activation_from(name), gate, x);
}

Value add_attention(Program& self, Value q, Value k, Value v, std::int64_t heads, float sm_scale,
                    bool int8, bool biased) {
  if (!(sm_scale >= 0.0f)) bad_argument("sm_scale", "at least 0");
  return self.add_attention({heads, sm_scale, int8, biased}, q, k, v);
}

Value add_cached_attention(Program& self, Value q, Value k, Value v, std::int64_t layer,
                           std::int64_t heads, std::int64_t kv_heads,
                           const std::optional<std::int64_t>& window, float sm_scale) {
  if (!(sm_scale >= 0.0f)) bad_argument("sm_scale", "at least 0");
  if (window && *window < 1) bad_argument("window", "at least 1, or None");
  return self.add_cached_attention({layer, heads, kv_heads, window.value_or(kNoWindow), sm_scale},
                                   q, k, v);
}

struct Sequences {
  std::vector<std::int64_t> offsets;
  std::int64_t longest = 0;

  Sequences(const Array& starts, Py_ssize_t rows) : offsets(row_offsets(starts, rows)) {
    longest = longest_of(offsets);
    constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
    if (longest > kMost) bad_argument("offsets", "sequences of fewer rows");
  }
  std::int64_t count() const { return static_cast<std::int64_t>(offsets.size()) - 1; }
};

ScoreBias bias_for(const Program& program, const std::optional<Array>& bias, std::int64_t longest) {
  const std::int64_t heads = program.needs().biased_heads;
  if (heads == 0) {
    if (bias) bad_argument("bias", "none, which no step has");
    return {nullptr, 0, 0};
  }
  if (!bias || !bias->has_type(kElement<float>) || bias->ndim() != 3 || !bias->is_contiguous() ||
      (bias->shape(0) != heads && bias->shape(0) != 1) || bias->shape(1) < longest ||
      bias->shape(2) < longest) {
    bad_argument("bias", "C-contiguous aligned float32 of shape (H or 1, T, T)");
  }
  const std::int64_t per_head = bias->shape(0) == 1 ? 0 : bias->shape(1) * bias->shape(2);
  return {bias->as<const float>(), per_head, bias->shape(2)};
}

using Tables = std::vector<std::pair<Array, Array>>;

// The tables of rotary positions, and the position of each row.
struct Places {
  std::vector<RotaryTable> tables;
  std::vector<std::int64_t> positions;

  Places(const Program& program, const Tables& given, const std::optional<Array>& places,
         Py_ssize_t rows) {
    const std::vector<std::int64_t>& heads = program.needs().table_heads;
    if (given.size() != heads.size()) bad_argument("tables", "as many as the program reads");
    if (given.empty()) {
      if (places) bad_argument("positions", "none, which no step reads");
      return;
    }
    Py_ssize_t shortest = std::numeric_limits<Py_ssize_t>::max();
    for (std::size_t i = 0; i < given.size(); ++i) {
      const auto& [cosine, sine] = given[i];
      tables.push_back({contiguous<float>(cosine, 2, "tables"),
                        contiguous<float>(sine, 2, "tables"), cosine.shape(1)});
      if (2 * cosine.shape(1) > heads[i]) bad_argument("tables", "pairs that a head has");
      if (sine.shape(0) != cosine.shape(0) || sine.shape(1) != cosine.shape(1)) {
        bad_argument("tables", "sines of the shape of the cosines");
      }
      shortest = std::min(shortest, cosine.shape(0));
    }
    if (!places) bad_argument("positions", "a position for each row of x");
    const auto* data = contiguous<std::int64_t>(*places, 1, "positions");
    positions = copied(data, places->shape(0));
    const auto known = [&](std::int64_t position) { return position >= 0 && position < shortest; };
    if (places->shape(0) != rows || !std::all_of(positions.begin(), positions.end(), known)) {
      bad_argument("positions", "a row of the tables for each row of x");
    }
  }
};

// Those that are taken.
void check_caches(const Program::Needs& needs, const Caches& caches, const Sequences& sequences) {
  caches.check_alike();
  for (std::size_t s = 0; s < caches.list.size(); ++s) {
    const KvCache& cache = *caches.list[s];
    if (cache.layers() < needs.layers || cache.kv_heads() != needs.kv_heads ||
        cache.d() != needs.head_size) {
      bad_argument("caches", "the layers and heads that the program has");
    }
    const std::int64_t rows = sequences.offsets[s + 1] - sequences.offsets[s];
    for (std::int64_t i = 0; i < needs.layers; ++i) check_room(cache.length(i), rows, "offsets");
  }
}

Array run(const Program& self, const Array& x, const Array& offsets,
          const std::optional<Array>& bias, const std::optional<Array>& positions,
          const Tables& tables, const std::vector<std::shared_ptr<KvCache>>& given) {
  if (self.output_width() == 0) bad_argument("self", "a program with a result");
  const float* in = contiguous<float>(x, 2, "x");
  if (x.shape(1) != self.input_width()) bad_argument("x", "as many columns as the program reads");
  const Sequences sequences(offsets, x.shape(0));
  const ScoreBias added = bias_for(self, bias, sequences.longest);
  const Places places(self, tables, positions, x.shape(0));
  Caches caches(given);
  const std::int64_t wanted = self.needs().layers == 0 ? 0 : sequences.count();
  if (static_cast<std::int64_t>(given.size()) != wanted) {
    bad_argument("caches", "one for each sequence, or none where no step has one");
  }
  const Array out = new_result({x.shape(0), static_cast<Py_ssize_t>(self.output_width())},
                               Dtype(kElement<float>));
  auto* data = out.as<float>();
  const Program::Arguments arguments = {
      sequences.offsets.data(), sequences.count(),    added,
      places.positions.data(),  places.tables.data(), caches.list.data()};
  without_gil([&] {
    caches.take();
    check_caches(self.needs(), caches, sequences);
    self.run(arguments, in, data);
  });
  return out;
}

}  // namespace

void register_program(nb::module_& m) {
  using namespace nanobind::literals;
  nb::class_<Program>(m, "Program")
      .def(nb::init<std::int64_t>(), "width"_a)
      .def("linear", &add_linear<Linear>, "layer"_a, "x"_a, "addend"_a, "residual"_a)
      .def("linear", &add_linear<LinearF32>, "layer"_a, "x"_a, "addend"_a, "residual"_a)
      .def("layer_norm", &add_layer_norm, "weight"_a, "bias"_a, "eps"_a, "x"_a, "residual"_a,
           nb::keep_alive<1, 2>(), nb::keep_alive<1, 3>())
      .def("rms_norm", &add_rms_norm, "weight"_a, "eps"_a, "x"_a, "addend"_a,
           nb::keep_alive<1, 2>())
      .def(
          "rotary",
          [](Program& self, Value x, std::int64_t heads, std::int64_t table) {
            return self.add_rotary({heads, table}, x);
          },
          "x"_a, "heads"_a, "table"_a)
      .def("gated", &add_gated, "gate"_a, "x"_a, "name"_a)
      .def("columns", &Program::add_columns, "x"_a, "begin"_a, "end"_a)
      .def("attention", &add_attention, "q"_a, "k"_a, "v"_a, "heads"_a, "sm_scale"_a, "int8"_a,
           "biased"_a)
      .def("attention_cached", &add_cached_attention, "q"_a, "k"_a, "v"_a, "layer"_a, "heads"_a,
           "kv_heads"_a, "window"_a, "sm_scale"_a)
      .def("finish", &Program::finish, "result"_a)
      .def("run", &run, "x"_a, "offsets"_a, "bias"_a = nb::none(), "positions"_a = nb::none(),
           "tables"_a = Tables(), "caches"_a = std::vector<std::shared_ptr<KvCache>>());
}

}  // namespace octavo
