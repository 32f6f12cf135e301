// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "bindings/gil.h"
#include "bindings/register.h"
#include "bindings/views.h"
#include "ops/spmm.h"

namespace octavo {
namespace {

std::unique_ptr<SlicedF32> make_sparse(const py::array& indptr, const py::array& indices,
                                       const py::array& values, std::int64_t k) {
  const auto* their_starts = contiguous<std::int64_t>(indptr, 1, "indptr");
  const auto* their_columns = contiguous<std::int32_t>(indices, 1, "indices");
  const float* data = contiguous<float>(values, 1, "values");
  const std::int64_t n = indptr.shape(0) - 1, nnz = indices.shape(0);
  if (n < 0 || n > SlicedF32::kMaxSize) bad_argument("indptr", "1 to 2**31 values");
  if (k < 0 || k > SlicedF32::kMaxSize) bad_argument("k", "a size below 2**31");
  if (values.shape(0) != nnz) bad_argument("values", "one per index");
  return without_gil([&] {
    const std::vector<std::int64_t> starts = copied(their_starts, n + 1);
    const std::vector<std::int32_t> columns = copied(their_columns, nnz);
    if (!SlicedF32::valid(starts.data(), columns.data(), nnz, n, k)) {
      bad_argument("indptr, indices", "canonical compressed rows");
    }
    return std::make_unique<SlicedF32>(starts.data(), columns.data(), data, n, k);
  });
}

py::tuple unpack(const SlicedF32& self) {
  py::array_t<std::int64_t> indptr(self.n() + 1);
  py::array_t<std::int32_t> indices(self.nnz());
  py::array_t<float> values(self.nnz());
  auto* starts = indptr.mutable_data();
  auto* columns = indices.mutable_data();
  float* data = values.mutable_data();
  without_gil([&] { self.unpack(starts, columns, data); });
  return py::make_tuple(indptr, indices, values);
}

// Axes that are never stepped along count as contiguous.
template <class T>
Strided<T> strided(T* data, const py::array& array, const char* name) {
  constexpr auto item = static_cast<py::ssize_t>(sizeof(float));
  if (!is_aligned(array)) bad_argument(name, "an aligned array");
  const auto stride = [&](int axis) {
    return array.shape(axis) <= 1 || array.size() == 0 ? 1 : stride_of(array, axis, item, name);
  };
  return {data, stride(0), stride(1)};
}

void matmul(const SlicedF32& self, const py::array& x, py::array out) {
  if (!has_dtype<float>(x) || x.ndim() != 2 || x.shape(0) != self.k()) {
    bad_argument("x", "float32 of shape (K, M)");
  }
  const py::ssize_t m = x.shape(1);
  if (!has_dtype<float>(out) || out.ndim() != 2 || out.shape(0) != self.n() || out.shape(1) != m ||
      !out.writeable()) {
    bad_argument("out", "writable float32 of shape (N, M)");
  }
  check_apart(out, x, "x");
  const auto in = strided(static_cast<const float*>(x.data()), x, "x");
  const auto result = strided(static_cast<float*>(out.mutable_data()), out, "out");
  without_gil([&] { spmm(self, m, in, result); });
}

}  // namespace

void register_sparse_f32(py::module_& m) {
  using namespace pybind11::literals;
  py::class_<SlicedF32>(m, "SparseF32")
      .def(py::init(&make_sparse), "indptr"_a, "indices"_a, "values"_a, "k"_a)
      .def("matmul", &matmul, "x"_a, "out"_a)
      .def("unpack", &unpack)
      .def_property_readonly(
          "shape", [](const SlicedF32& self) { return py::make_tuple(self.n(), self.k()); })
      .def_property_readonly("nnz", &SlicedF32::nnz)
      .def_property_readonly("nbytes", &SlicedF32::nbytes);
  refuse_uninitialised<SlicedF32>();
}

}  // namespace octavo
