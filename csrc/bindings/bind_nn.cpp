// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <optional>

#include "bindings/activation_names.h"
#include "bindings/gil.h"
#include "bindings/register.h"
#include "bindings/views.h"
#include "ops/attention.h"
#include "ops/attention_s8.h"
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

TokenRows token_rows(const py::array& array, py::ssize_t batch, py::ssize_t width,
                     const char* name) {
  constexpr auto item = static_cast<py::ssize_t>(sizeof(float));
  if (!has_dtype<float>(array) || array.ndim() != 3 || array.shape(0) != batch ||
      array.shape(2) != width || !is_aligned(array)) {
    bad_argument(name, "aligned float32 of shape (B, T, H * D)");
  }
  const bool unit = array.strides(2) == item || width <= 1 || array.size() == 0;
  if (!unit) bad_argument(name, "unit stride along the last axis");
  return {static_cast<const float*>(array.data()), stride_of(array, 0, item, name),
          stride_of(array, 1, item, name)};
}

// A byte per key: arrays of bool made from foreign memory may hold other bytes than 0 and 1.
const std::uint8_t* key_mask(const std::optional<py::array>& mask, py::ssize_t batch,
                             py::ssize_t keys) {
  if (!mask) return nullptr;
  if (!has_dtype<bool>(*mask) || mask->ndim() != 2 || !is_contiguous(*mask) ||
      mask->shape(0) != batch || mask->shape(1) != keys) {
    bad_argument("mask", "C-contiguous bool of shape (B, T_k)");
  }
  return static_cast<const std::uint8_t*>(mask->data());
}

// (heads or 1, T_q, T_k), the same for all batch entries.
ScoreBias score_bias(const std::optional<py::array>& bias, std::int64_t heads, py::ssize_t queries,
                     py::ssize_t keys) {
  if (!bias) return {nullptr, 0, 0};
  if (!has_dtype<float>(*bias) || bias->ndim() != 3 || !is_contiguous(*bias) ||
      (bias->shape(0) != heads && bias->shape(0) != 1) || bias->shape(1) != queries ||
      bias->shape(2) != keys) {
    bad_argument("bias", "C-contiguous aligned float32 of shape (H or 1, T_q, T_k)");
  }
  const std::int64_t per_head = bias->shape(0) == 1 ? 0 : queries * keys;
  return {static_cast<const float*>(bias->data()), per_head, keys};
}

void attend(const py::array& q, const py::array& k, const py::array& v,
            const std::optional<py::array>& mask, const std::optional<py::array>& bias,
            std::int64_t heads, float sm_scale, py::array out) {
  if (q.ndim() != 3) bad_argument("q", "shape (B, T, H * D)");
  const py::ssize_t batch = q.shape(0), queries = q.shape(1), width = q.shape(2);
  if (heads < 1 || width % heads != 0) bad_argument("heads", "a divisor of the width");
  const TokenRows query = token_rows(q, batch, width, "q");
  const TokenRows key = token_rows(k, batch, width, "k");
  const TokenRows value = token_rows(v, batch, width, "v");
  const py::ssize_t keys = k.shape(1);
  if (v.shape(1) != keys) bad_argument("v", "as many rows as k");
  const std::uint8_t* valid = key_mask(mask, batch, keys);
  const ScoreBias added = score_bias(bias, heads, queries, keys);
  auto* result = writable<float>(out, "out");
  if (out.ndim() != 3 || !std::equal(q.shape(), q.shape() + 3, out.shape())) {
    bad_argument("out", "the shape of q");
  }
  check_apart(out, q, "q");
  check_apart(out, k, "k");
  check_apart(out, v, "v");
  check_apart(out, mask, "mask");
  check_apart(out, bias, "bias");
  without_gil([&] {
    attention({batch, queries, keys, heads, width / heads}, query, key, value, valid, added,
              sm_scale, result);
  });
}

// A copy of a column of (T_q, 2): the ranges of keys that queries see.
std::vector<std::int64_t> column_of(const py::array& array, py::ssize_t column) {
  std::vector<std::int64_t> values;
  const auto* data = static_cast<const std::int64_t*>(array.data());
  for (py::ssize_t i = 0; i < array.shape(0); ++i) values.push_back(data[2 * i + column]);
  return values;
}

void attend_int8(const py::array& q, const py::array& k, const py::array& v,
                 const std::optional<py::array>& mask, const std::optional<py::array>& bias,
                 const std::optional<py::array>& key_ranges, std::int64_t heads,
                 std::int64_t kv_heads, float sm_scale, py::array out) {
  if (q.ndim() != 3) bad_argument("q", "shape (B, T, H * D)");
  const py::ssize_t batch = q.shape(0), queries = q.shape(1), width = q.shape(2);
  if (heads < 1 || width % heads != 0) bad_argument("heads", "a divisor of the width");
  if (kv_heads < 1 || heads % kv_heads != 0) bad_argument("kv_heads", "a divisor of heads");
  const py::ssize_t d = width / heads;
  if (d > kLargestHead) bad_argument("heads", "heads of at most 1040 values");
  if (!(sm_scale >= 0.0f)) bad_argument("sm_scale", "at least 0");
  const TokenRows query = token_rows(q, batch, width, "q");
  const TokenRows key = token_rows(k, batch, kv_heads * d, "k");
  const TokenRows value = token_rows(v, batch, kv_heads * d, "v");
  const py::ssize_t keys = k.shape(1);
  if (keys > std::numeric_limits<std::int32_t>::max()) bad_argument("k", "fewer rows");
  if (v.shape(1) != keys) bad_argument("v", "as many rows as k");
  AttentionExtras extras;
  extras.mask = key_mask(mask, batch, keys);
  extras.bias = score_bias(bias, heads, queries, keys);
  std::vector<std::int64_t> first, last;
  if (key_ranges) {
    contiguous<std::int64_t>(*key_ranges, 2, "key_ranges");
    if (key_ranges->shape(0) != queries || key_ranges->shape(1) != 2) {
      bad_argument("key_ranges", "shape (T_q, 2)");
    }
    first = column_of(*key_ranges, 0);
    last = column_of(*key_ranges, 1);
    extras.visible = {first.data(), last.data()};
  }
  auto* result = writable<float>(out, "out");
  if (out.ndim() != 3 || !std::equal(q.shape(), q.shape() + 3, out.shape())) {
    bad_argument("out", "the shape of q");
  }
  check_apart(out, q, "q");
  check_apart(out, k, "k");
  check_apart(out, v, "v");
  check_apart(out, mask, "mask");
  check_apart(out, bias, "bias");
  without_gil([&] {
    attention_s8({{batch, queries, keys, heads, d}, kv_heads}, query, key, value, extras, sm_scale,
                 result);
  });
}

}  // namespace

void register_nn(py::module_& m) {
  using namespace pybind11::literals;
  m.def("activation", &activation, "x"_a, "name"_a, "out"_a);
  m.def("layer_norm", &norm, "x"_a, "weight"_a, "bias"_a, "eps"_a, "residual"_a, "out"_a);
  m.def("softmax", &softmax_rows, "x"_a, "out"_a);
  m.def("attention", &attend, "q"_a, "k"_a, "v"_a, "mask"_a, "bias"_a, "heads"_a, "sm_scale"_a,
        "out"_a);
  m.def("attention_int8", &attend_int8, "q"_a, "k"_a, "v"_a, "mask"_a, "bias"_a, "key_ranges"_a,
        "heads"_a, "kv_heads"_a, "sm_scale"_a, "out"_a);
}

}  // namespace octavo
