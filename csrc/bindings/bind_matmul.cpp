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

CodeMatrix code_matrix(const py::array& array, const char* name) {
  const bool is_unsigned = has_dtype<std::uint8_t>(array);
  if (array.ndim() != 3 || !(is_unsigned || has_dtype<std::int8_t>(array))) {
    bad_argument(name, "three dimensions of int8 or uint8");
  }
  return {static_cast<const std::uint8_t*>(array.data()), stride_of(array, 1, 1, name),
          stride_of(array, 2, 1, name), is_unsigned};
}

ZeroPoints zero_points(const std::optional<py::array>& array, py::ssize_t count, const char* name) {
  if (!array) return {};
  const auto* data = contiguous<std::int32_t>(*array, 1, name);
  const py::ssize_t size = array->shape(0);
  if (size != 1 && size != count) bad_argument(name, "one value, or one per row or column");
  return {data, size != 1};
}

// Kernels count groups of inputs in 32 bits.
void check_inner(py::ssize_t k) {
  if (k > INT32_MAX - 64) bad_argument("b", "at most 2**31 - 65 rows");
}

void matmul(const py::array& a, const py::array& b, const std::optional<py::array>& a_zero_point,
            const std::optional<py::array>& b_zero_point, py::array out) {
  const CodeMatrix left = code_matrix(a, "a"), right = code_matrix(b, "b");
  const py::ssize_t batch = a.shape(0), m = a.shape(1), k = a.shape(2), n = b.shape(2);
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
  const py::ssize_t a_step = stride_of(a, 0, 1, "a"), b_step = stride_of(b, 0, 1, "b");
  without_gil(
      [&] { matmul_int8(batch, m, k, n, left, a_step, right, b_step, a_zero, b_zero, result); });
}

std::unique_ptr<DenseWeight> pack_matrix(const py::array& b) {
  if (b.ndim() != 2 || !has_dtype<std::int8_t>(b)) bad_argument("b", "two dimensions of int8");
  const auto* data = static_cast<const std::uint8_t*>(b.data());
  const py::ssize_t k = b.shape(0), n = b.shape(1), k_stride = stride_of(b, 0, 1, "b"),
                    n_stride = stride_of(b, 1, 1, "b");
  check_inner(k);
  return without_gil([&] {
    return std::make_unique<DenseWeight>(data, k, n, k_stride, n_stride, std::uint8_t{0});
  });
}

void matmul_matrix(const DenseWeight& self, const py::array& a, py::array out) {
  const bool is_unsigned = has_dtype<std::uint8_t>(a);
  if (a.ndim() != 2 || a.shape(1) != self.k() || !(is_unsigned || has_dtype<std::int8_t>(a))) {
    bad_argument("a", "codes with as many columns as the packed matrix has rows");
  }
  auto* result = writable<std::int32_t>(out, "out");
  if (out.ndim() != 2 || out.shape(0) != a.shape(0) || out.shape(1) != self.n()) {
    bad_argument("out", "shape (M, N)");
  }
  check_apart(out, a, "a");
  const CodeMatrix codes = {static_cast<const std::uint8_t*>(a.data()), stride_of(a, 0, 1, "a"),
                            stride_of(a, 1, 1, "a"), is_unsigned};
  const py::ssize_t m = a.shape(0);
  without_gil([&] { matmul_packed(m, codes, self, result); });
}

}  // namespace

void register_matmul(py::module_& m) {
  using namespace pybind11::literals;
  py::class_<DenseWeight>(m, "PackedMatrix")
      .def(py::init(&pack_matrix), "b"_a)
      .def("matmul", &matmul_matrix, "a"_a, "out"_a)
      .def_property_readonly("nbytes", &DenseWeight::nbytes)
      .def_property_readonly(
          "shape", [](const DenseWeight& self) { return py::make_tuple(self.k(), self.n()); });
  refuse_uninitialised<DenseWeight>();
  m.def("matmul_int8", &matmul, "a"_a, "b"_a, "a_zero_point"_a, "b_zero_point"_a, "out"_a);
}

}  // namespace octavo
