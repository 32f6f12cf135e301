// SPDX-License-Identifier: Apache-2.0
#include <optional>

#include "bindings/gil.h"
#include "bindings/register.h"
#include "bindings/results.h"
#include "bindings/views.h"
#include "ops/quantize.h"

namespace octavo {
namespace {

FloatType float_type(const Array& array, const char* name) {
  if (array.has_type(kElement<float>)) return FloatType::kF32;
  if (!array.has_type(kFloat16)) bad_argument(name, "float32 or float16");
  return FloatType::kF16;
}

CodeType code_type(const Array& array, const char* name) {
  if (array.has_type(kElement<std::int8_t>)) return CodeType::kS8;
  if (array.has_type(kElement<std::uint8_t>)) return CodeType::kU8;
  if (array.has_type(kElement<std::int16_t>)) return CodeType::kS16;
  if (array.has_type(kElement<std::uint16_t>)) return CodeType::kU16;
  if (!array.has_type(kElement<std::int32_t>)) {
    bad_argument(name, "int8, uint8, int16, uint16 or int32");
  }
  return CodeType::kS32;
}

const void* contiguous_data(const Array& array, const char* name) {
  if (!array.is_contiguous()) bad_argument(name, "an aligned, C-contiguous array");
  return array.data();
}

void* writable_data(const Array& array, Py_ssize_t size, const char* name) {
  if (!array.is_contiguous() || !array.is_writable() || array.size() != size) {
    bad_argument(name, "a writable, aligned, C-contiguous array of the size of the input");
  }
  return array.data();
}

ParameterLayout checked_layout(const ParameterLayout& layout, const Array& data,
                               const Array& scale) {
  if (layout.outer < 0 || layout.channels < 0 || layout.inner < 0 || layout.block_size < 0 ||
      layout.size() != data.size()) {
    bad_argument("outer, channels, inner", "a view of all elements");
  }
  if (layout.parameter_count() != scale.size()) {
    bad_argument("scale", "as many values as the layout has parameters");
  }
  return layout;
}

const void* zero_point_data(const std::optional<Array>& zero_point, const Array& scale,
                            CodeType type) {
  if (!zero_point) return nullptr;
  if (code_type(*zero_point, "zero_point") != type || zero_point->size() != scale.size()) {
    bad_argument("zero_point", "the dtype of the codes and the size of scale");
  }
  return contiguous_data(*zero_point, "zero_point");
}

void quantize(const Array& x, const Array& scale, const std::optional<Array>& zero_point,
              std::int64_t outer, std::int64_t channels, std::int64_t inner,
              std::int64_t block_size, const Array& out) {
  const ParameterLayout layout = checked_layout({outer, channels, inner, block_size}, x, scale);
  const FloatData in = {float_type(x, "x"), contiguous_data(x, "x")};
  if (float_type(scale, "scale") != in.type) bad_argument("scale", "the dtype of x");
  const void* factor = contiguous_data(scale, "scale");
  const CodeType type = code_type(out, "out");
  if (type == CodeType::kS32) bad_argument("out", "int8, uint8, int16 or uint16");
  const void* zero = zero_point_data(zero_point, scale, type);
  void* codes = writable_data(out, x.size(), "out");
  check_apart(out, x, "x");
  check_apart(out, scale, "scale");
  check_apart(out, zero_point, "zero_point");
  without_gil([&] { quantize_linear(layout, in, factor, zero, type, codes); });
}

void dequantize(const Array& q, const Array& scale, const std::optional<Array>& zero_point,
                std::int64_t outer, std::int64_t channels, std::int64_t inner,
                std::int64_t block_size, const Array& out) {
  const ParameterLayout layout = checked_layout({outer, channels, inner, block_size}, q, scale);
  const CodeData codes = {code_type(q, "q"), contiguous_data(q, "q")};
  const FloatData factor = {float_type(scale, "scale"), contiguous_data(scale, "scale")};
  if (float_type(out, "out") != factor.type) bad_argument("out", "the dtype of scale");
  const void* zero = zero_point_data(zero_point, scale, codes.type);
  void* result = writable_data(out, q.size(), "out");
  check_apart(out, q, "q");
  check_apart(out, scale, "scale");
  check_apart(out, zero_point, "zero_point");
  without_gil([&] { dequantize_linear(layout, codes, factor, zero, result); });
}

nb::tuple dynamic(const Array& x, bool symmetric, const std::optional<Array>& out) {
  const Rows<const float> in = rows<float>(x, "x");
  const Py_ssize_t m = x.shape(0), k = x.shape(1);
  if (k > INT32_MAX) bad_argument("x", "at most 2**31 - 1 columns");
  Array codes = out ? *out : new_result({m, k}, Dtype(kElement<std::int8_t>));
  auto* c = writable<std::int8_t>(codes, "out");
  if (codes.size() != x.size()) bad_argument("out", "the size of x");
  check_apart(codes, x, "x");
  const Array scales = new_array<float>({m}), zero_points = new_array<std::int32_t>({m});
  auto* s = scales.as<float>();
  auto* z = zero_points.as<std::int32_t>();
  without_gil([&] { quantize_dynamic(m, k, in, symmetric, c, s, z); });
  return nb::make_tuple(codes, scales, zero_points);
}

void embed(const Array& codes, const Array& scale, const Array& ids, const Array& out) {
  const auto* table = contiguous<std::int8_t>(codes, 2, "codes");
  const float* factor = contiguous<float>(scale, 1, "scale");
  const auto* their_ids = contiguous<std::int64_t>(ids, 1, "ids");
  const Py_ssize_t v = codes.shape(0), d = codes.shape(1), count = ids.shape(0);
  const std::vector<std::int64_t> indices = copied(their_ids, count);
  if (scale.shape(0) != v) bad_argument("scale", "one value per row of codes");
  auto* result = writable<float>(out, "out");
  if (out.size() != checked_mul(count, d)) bad_argument("out", "shape (len(ids), D)");
  check_apart(out, codes, "codes");
  check_apart(out, scale, "scale");
  for (const std::int64_t index : indices) {
    if (index < 0 || index >= v) bad_argument("ids", "row numbers of codes");
  }
  without_gil([&] { embedding(table, factor, d, indices.data(), count, result); });
}

void widen_halves(const Array& x, const Array& out) {
  const bool bfloat = x.has_type(kElement<std::uint16_t>);
  if (!bfloat && float_type(x, "x") != FloatType::kF16) bad_argument("x", "float16 or uint16");
  const auto* in = static_cast<const std::uint16_t*>(contiguous_data(x, "x"));
  auto* result = writable<float>(out, "out");
  if (out.size() != x.size()) bad_argument("out", "the size of x");
  check_apart(out, x, "x");
  const std::int64_t n = x.size();
  without_gil([&] { widen(in, bfloat, n, result); });
}

}  // namespace

void register_quantize(nb::module_& m) {
  using namespace nanobind::literals;
  m.def("quantize_linear", &quantize, "x"_a, "scale"_a, "zero_point"_a, "outer"_a, "channels"_a,
        "inner"_a, "block_size"_a, "out"_a);
  m.def("dequantize_linear", &dequantize, "q"_a, "scale"_a, "zero_point"_a, "outer"_a, "channels"_a,
        "inner"_a, "block_size"_a, "out"_a);
  m.def("quantize_dynamic", &dynamic, "x"_a, "symmetric"_a, "out"_a = nb::none());
  m.def("embedding", &embed, "codes"_a, "scale"_a, "ids"_a, "out"_a);
  m.def("widen", &widen_halves, "x"_a, "out"_a);
}

}  // namespace octavo
