// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "bindings/gil.h"
#include "bindings/register.h"
#include "bindings/views.h"
#include "ops/spmm.h"

namespace octavo {
namespace {

void make_sparse(SlicedF32* self, const Array& indptr, const Array& indices, const Array& values,
                 std::int64_t k) {
  const auto* their_starts = contiguous<std::int64_t>(indptr, 1, "indptr");
  const auto* their_columns = contiguous<std::int32_t>(indices, 1, "indices");
  const float* data = contiguous<float>(values, 1, "values");
  const std::int64_t n = indptr.shape(0) - 1, nnz = indices.shape(0);
  if (n < 0 || n > SlicedF32::kMaxSize) bad_argument("indptr", "1 to 2**31 values");
  if (k < 0 || k > SlicedF32::kMaxSize) bad_argument("k", "a size below 2**31");
  if (values.shape(0) != nnz) bad_argument("values", "one per index");
  new (self) SlicedF32(without_gil([&] {
    const std::vector<std::int64_t> starts = copied(their_starts, n + 1);
    const std::vector<std::int32_t> columns = copied(their_columns, nnz);
    if (!SlicedF32::valid(starts.data(), columns.data(), nnz, n, k)) {
      bad_argument("indptr, indices", "canonical compressed rows");
    }
    return SlicedF32(starts.data(), columns.data(), data, n, k);
  }));
}

nb::tuple unpack(const SlicedF32& self) {
  const Array indptr = new_array<std::int64_t>({self.n() + 1});
  Array indices = new_array<std::int32_t>({self.nnz()});
  Array values = new_array<float>({self.nnz()});
  auto* starts = indptr.as<std::int64_t>();
  auto* columns = indices.as<std::int32_t>();
  auto* data = values.as<float>();
  without_gil([&] { self.unpack(starts, columns, data); });
  return nb::make_tuple(indptr, indices, values);
}

// Axes that are never stepped along count as contiguous.
template <class T>
Strided<T> strided(T* data, const Array& array, const char* name) {
  constexpr auto item = static_cast<Py_ssize_t>(sizeof(float));
  if (!array.is_aligned()) bad_argument(name, "an aligned array");
  const auto stride = [&](int axis) {
    return array.shape(axis) <= 1 || array.size() == 0 ? 1 : stride_of(array, axis, item, name);
  };
  return {data, stride(0), stride(1)};
}

void matmul(const SlicedF32& self, const Array& x, const Array& out) {
  if (!x.has_type(kElement<float>) || x.ndim() != 2 || x.shape(0) != self.k()) {
    bad_argument("x", "float32 of shape (K, M)");
  }
  const Py_ssize_t m = x.shape(1);
  if (!out.has_type(kElement<float>) || out.ndim() != 2 || out.shape(0) != self.n() ||
      out.shape(1) != m || !out.is_writable()) {
    bad_argument("out", "writable float32 of shape (N, M)");
  }
  check_apart(out, x, "x");
  const auto in = strided(x.as<const float>(), x, "x");
  const auto result = strided(out.as<float>(), out, "out");
  without_gil([&] { spmm(self, m, in, result); });
}

}  // namespace

void register_sparse_f32(nb::module_& m) {
  using namespace nanobind::literals;
  nb::class_<SlicedF32>(m, "SparseF32")
      .def("__init__", &make_sparse, "indptr"_a, "indices"_a, "values"_a, "k"_a)
      .def("matmul", &matmul, "x"_a, "out"_a)
      .def("unpack", &unpack)
      .def_prop_ro("shape",
                   [](const SlicedF32& self) { return nb::make_tuple(self.n(), self.k()); })
      .def_prop_ro("nnz", &SlicedF32::nnz)
      .def_prop_ro("nbytes", &SlicedF32::nbytes);
}

}  // namespace octavo
