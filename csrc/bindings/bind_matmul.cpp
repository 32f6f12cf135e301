// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <optional>

#include "bindings/gil.h"
#include "bindings/register.h"
#include "bindings/views.h"
#include "ops/matmul.h"
#include "weights/dense.h"

namespace octavo {
namespace {

CodeMatrix code_matrix(const Array& array, const char* name) {
  const bool is_unsigned = array.has_type(kElement<std::uint8_t>);
  if (array.ndim() != 3 || !(is_unsigned || array.has_type(kElement<std::int8_t>))) {
    bad_argument(name, "three dimensions of int8 or uint8");
  }
  return {array.as<const std::uint8_t>(), stride_of(array, 1, 1, name),
          stride_of(array, 2, 1, name), is_unsigned};
}

ZeroPoints zero_points(const std::optional<Array>& array, Py_ssize_t count, const char* name) {
  if (!array) return {};
  const auto* data = contiguous<std::int32_t>(*array, 1, name);
  const Py_ssize_t size = array->shape(0);
  if (size != 1 && size != count) bad_argument(name, "one value, or one per row or column");
  return {data, size != 1};
}

// Kernels count groups of inputs in 32 bits.
void check_inner(Py_ssize_t k) {
  if (k > INT32_MAX - 64) bad_argument("b", "at most 2**31 - 65 rows");
}

void matmul(const Array& a, const Array& b, const std::optional<Array>& a_zero_point,
            const std::optional<Array>& b_zero_point, const Array& out) {
  const CodeMatrix left = code_matrix(a, "a"), right = code_matrix(b, "b");
  const Py_ssize_t batch = a.shape(0), m = a.shape(1), k = a.shape(2), n = b.shape(2);
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
  const Py_ssize_t a_step = stride_of(a, 0, 1, "a"), b_step = stride_of(b, 0, 1, "b");
  without_gil(
      [&] { matmul_int8(batch, m, k, n, left, a_step, right, b_step, a_zero, b_zero, result); });
}

void pack_matrix(DenseWeight* self, const Array& b) {
  if (b.ndim() != 2 || !b.has_type(kElement<std::int8_t>))
    bad_argument("b", "two dimensions of int8");
  const auto* data = b.as<const std::uint8_t>();
  const Py_ssize_t k = b.shape(0), n = b.shape(1), k_stride = stride_of(b, 0, 1, "b"),
                   n_stride = stride_of(b, 1, 1, "b");
  check_inner(k);
  new (self) DenseWeight(
      without_gil([&] { return DenseWeight(data, k, n, k_stride, n_stride, std::uint8_t{0}); }));
}

void matmul_matrix(const DenseWeight& self, const Array& a, const Array& out) {
  const bool is_unsigned = a.has_type(kElement<std::uint8_t>);
  if (a.ndim() != 2 || a.shape(1) != self.k() ||
      !(is_unsigned || a.has_type(kElement<std::int8_t>))) {
    bad_argument("a", "codes with as many columns as the packed matrix has rows");
  }
  auto* result = writable<std::int32_t>(out, "out");
  if (out.ndim() != 2 || out.shape(0) != a.shape(0) || out.shape(1) != self.n()) {
    bad_argument("out", "shape (M, N)");
  }
  check_apart(out, a, "a");
  const CodeMatrix codes = {a.as<const std::uint8_t>(), stride_of(a, 0, 1, "a"),
                            stride_of(a, 1, 1, "a"), is_unsigned};
  const Py_ssize_t m = a.shape(0);
  without_gil([&] { matmul_packed(m, codes, self, result); });
}

}  // namespace

void register_matmul(nb::module_& m) {
  using namespace nanobind::literals;
  nb::class_<DenseWeight>(m, "PackedMatrix")
      .def("__init__", &pack_matrix, "b"_a)
      .def("matmul", &matmul_matrix, "a"_a, "out"_a)
      .def_prop_ro("nbytes", &DenseWeight::nbytes)
      .def_prop_ro("shape",
                   [](const DenseWeight& self) { return nb::make_tuple(self.k(), self.n()); });
  m.def("matmul_int8", &matmul, "a"_a, "b"_a, "a_zero_point"_a, "b_zero_point"_a, "out"_a);
}

}  // namespace octavo
