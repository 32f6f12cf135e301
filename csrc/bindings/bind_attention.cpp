// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>
#include <optional>

#include "bindings/gil.h"
#include "bindings/offsets.h"
#include "bindings/register.h"
#include "bindings/views.h"
#include "ops/attention.h"
#include "ops/attention_s8.h"

namespace octavo {
namespace {

TokenRows token_rows(const Array& array, Py_ssize_t batch, Py_ssize_t width, const char* name) {
  constexpr auto item = static_cast<Py_ssize_t>(sizeof(float));
  if (!array.has_type(kElement<float>) || array.ndim() != 3 || array.shape(0) != batch ||
      array.shape(2) != width || !array.is_aligned()) {
    bad_argument(name, "aligned float32 of shape (B, T, H * D)");
  }
  const bool unit = array.strides(2) == item || width <= 1 || array.size() == 0;
  if (!unit) bad_argument(name, "unit stride along the last axis");
  return {array.as<const float>(), stride_of(array, 0, item, name),
          stride_of(array, 1, item, name)};
}

// A byte per key: arrays of bool made from foreign memory may hold other bytes than 0 and 1.
const std::uint8_t* key_mask(const std::optional<Array>& mask, Py_ssize_t batch, Py_ssize_t keys) {
  if (!mask) return nullptr;
  if (!mask->has_type(kElement<bool>) || mask->ndim() != 2 || !mask->is_contiguous() ||
      mask->shape(0) != batch || mask->shape(1) != keys) {
    bad_argument("mask", "C-contiguous bool of shape (B, T_k)");
  }
  return mask->as<const std::uint8_t>();
}

// (heads or 1, T_q, T_k), the same for all batch entries.
ScoreBias score_bias(const std::optional<Array>& bias, std::int64_t heads, Py_ssize_t queries,
                     Py_ssize_t keys) {
  if (!bias) return {nullptr, 0, 0};
  if (!bias->has_type(kElement<float>) || bias->ndim() != 3 || !bias->is_contiguous() ||
      (bias->shape(0) != heads && bias->shape(0) != 1) || bias->shape(1) != queries ||
      bias->shape(2) != keys) {
    bad_argument("bias", "C-contiguous aligned float32 of shape (H or 1, T_q, T_k)");
  }
  const std::int64_t per_head = bias->shape(0) == 1 ? 0 : queries * keys;
  return {bias->as<const float>(), per_head, keys};
}

// The arguments that both functions share, checked.
struct AttentionCall {
  std::vector<std::int64_t> offsets;
  AttentionShape shape;
  TokenRows q, k, v;
  const std::uint8_t* mask;
  ScoreBias bias;
  float* out;

  AttentionCall(const Array& query, const Array& key, const Array& value,
                const std::optional<Array>& valid, const std::optional<Array>& added,
                const std::optional<Array>& starts, std::int64_t heads, std::int64_t kv_heads,
                const Array& result) {
    if (query.ndim() != 3 || key.ndim() != 3) bad_argument("q", "shape (B, T, H * D)");
    const Py_ssize_t batch = query.shape(0), queries = query.shape(1), width = query.shape(2);
    if (heads < 1 || width % heads != 0) bad_argument("heads", "a divisor of the width");
    if (kv_heads < 1 || heads % kv_heads != 0) bad_argument("kv_heads", "a divisor of heads");
    const std::int64_t d = width / heads;
    q = token_rows(query, batch, width, "q");
    k = token_rows(key, batch, kv_heads * d, "k");
    v = token_rows(value, batch, kv_heads * d, "v");
    const Py_ssize_t keys = key.shape(1);
    if (value.shape(1) != keys) bad_argument("v", "as many rows as k");
    mask = key_mask(valid, batch, keys);
    shape = {batch, queries, keys, heads, d};
    if (starts) {
      if (batch != 1 || keys != queries) {
        bad_argument("q", "one batch entry, with as many rows as k, beside offsets");
      }
      offsets = row_offsets(*starts, queries);
      const std::int64_t longest = longest_of(offsets);
      shape = {static_cast<std::int64_t>(offsets.size()) - 1,
               longest,
               longest,
               heads,
               d,
               offsets.data()};
    }
    bias = score_bias(added, heads, shape.queries, shape.keys);
    out = writable<float>(result, "out");
    if (result.ndim() != 3 || !std::equal(query.shape(), query.shape() + 3, result.shape())) {
      bad_argument("out", "the shape of q");
    }
    check_apart(result, query, "q");
    check_apart(result, key, "k");
    check_apart(result, value, "v");
    check_apart(result, valid, "mask");
    check_apart(result, added, "bias");
  }
  AttentionCall(const AttentionCall&) = delete;
  AttentionCall& operator=(const AttentionCall&) = delete;
};

void attend(const Array& q, const Array& k, const Array& v, const std::optional<Array>& mask,
            const std::optional<Array>& bias, const std::optional<Array>& offsets,
            std::int64_t heads, float sm_scale, const Array& out) {
  const AttentionCall call(q, k, v, mask, bias, offsets, heads, heads, out);
  without_gil([&] {
    attention(call.shape, call.q, call.k, call.v, call.mask, call.bias, sm_scale, call.out);
  });
}

void attend_int8(const Array& q, const Array& k, const Array& v, const std::optional<Array>& mask,
                 const std::optional<Array>& bias, const std::optional<Array>& key_ranges,
                 const std::optional<Array>& offsets, std::int64_t heads, std::int64_t kv_heads,
                 float sm_scale, const Array& out) {
  const AttentionCall call(q, k, v, mask, bias, offsets, heads, kv_heads, out);
  if (call.shape.d > kLargestHead) {
    const std::string most = std::to_string(kLargestHead);
    bad_argument("q", ("heads of at most " + most + " values").c_str());
  }
  if (!(sm_scale >= 0.0f)) bad_argument("sm_scale", "at least 0");
  if (k.shape(1) > std::numeric_limits<std::int32_t>::max()) bad_argument("k", "fewer rows");
  AttentionExtras extras;
  extras.mask = call.mask;
  extras.bias = call.bias;
  std::vector<std::int64_t> ranges;
  if (key_ranges) {
    const auto* data = contiguous<std::int64_t>(*key_ranges, 2, "key_ranges");
    if (key_ranges->shape(0) != q.shape(1) || key_ranges->shape(1) != 2) {
      bad_argument("key_ranges", "shape (T_q, 2)");
    }
    ranges = copied(data, 2 * q.shape(1));
    extras.key_ranges = ranges.data();
  }
  without_gil([&] {
    attention_s8({call.shape, kv_heads}, call.q, call.k, call.v, extras, sm_scale, call.out);
  });
}

}  // namespace

void register_attention(nb::module_& m) {
  using namespace nanobind::literals;
  m.def("attention", &attend, "q"_a, "k"_a, "v"_a, "mask"_a, "bias"_a, "offsets"_a, "heads"_a,
        "sm_scale"_a, "out"_a);
  m.def("attention_int8", &attend_int8, "q"_a, "k"_a, "v"_a, "mask"_a, "bias"_a, "key_ranges"_a,
        "offsets"_a, "heads"_a, "kv_heads"_a, "sm_scale"_a, "out"_a);
}

}  // namespace octavo
