// SPDX-License-Identifier: Apache-2.0
// The sliced sparse matrix, spmm_f32 and transpose_f32 rows.
#include <cmath>
#include <limits>

#include "bench.h"
#include "guarded.h"
#include "tests.h"
#include "weights/sliced_f32.h"

namespace octavo_test {
namespace {

using namespace octavo;

struct Csr {
  std::vector<std::int64_t> indptr{0};
  std::vector<std::int32_t> indices;
  std::vector<float> values;
  std::int64_t n, k;
};

// Of every `step` places about one holds a value; some rows are empty, one is full.
Csr random_rows(std::int64_t n, std::int64_t k, std::int64_t step, Random& random) {
  Csr a;
  a.n = n;
  a.k = k;
  for (std::int64_t row = 0; row < n; ++row) {
    for (std::int64_t column = 0; column < k; ++column) {
      const bool kept = random.between(1, step) == 1;
      if (row % 7 == 5 || (row % 11 != 3 && !kept)) continue;
      a.indices.push_back(static_cast<std::int32_t>(column));
      a.values.push_back(random.real(2.0f));
    }
    a.indptr.push_back(static_cast<std::int64_t>(a.indices.size()));
  }
  return a;
}

SlicedF32 sliced(const Csr& a) {
  return SlicedF32(a.indptr.data(), a.indices.data(), a.values.data(), a.n, a.k);
}

void check_round_trip(const Csr& a) {
  const std::string what = "sliced " + std::to_string(a.n) + "x" + std::to_string(a.k);
  const auto nnz = static_cast<std::int64_t>(a.indices.size());
  check(SlicedF32::valid(a.indptr.data(), a.indices.data(), nnz, a.n, a.k), what + " is valid");
  Csr back = a;
  std::fill(back.indptr.begin(), back.indptr.end(), -1);
  std::fill(back.indices.begin(), back.indices.end(), -1);
  std::fill(back.values.begin(), back.values.end(), 9.0f);
  const SlicedF32 matrix = sliced(a);
  matrix.unpack(back.indptr.data(), back.indices.data(), back.values.data());
  check(matrix.nnz() == nnz, what + " counts");
  check(back.indptr == a.indptr && back.indices == a.indices && back.values == a.values,
        what + " comes back");
}

void check_invalid(std::vector<std::int64_t> indptr, std::vector<std::int32_t> indices,
                   const std::string& what) {
  const auto n = static_cast<std::int64_t>(indptr.size()) - 1;
  const auto nnz = static_cast<std::int64_t>(indices.size());
  check(!SlicedF32::valid(indptr.data(), indices.data(), nnz, n, 4), what + " is invalid");
}

template <class T>
void copy_to(Guarded<T>& to, const T* from) {
  for (std::int64_t i = 0; i < to.size(); ++i) to[i] = from[i];
}

// One block with every array in memory of its own that ends, or begins, at a guard page. Entries
// behind a row's end hold NaN.
void check_block(const KernelRow<SpmmF32Args>& kernel, const Csr& a, int m, Edge edge,
                 Random& random) {
  const SlicedF32 matrix = sliced(a);
  if (matrix.begin(0) == matrix.end(0)) return;
  SpmmF32Args args = matrix.arguments(*matrix.begin(0));
  std::int64_t entries = 0;
  for (int s = 0; s < args.slices; ++s) entries += kSparseSlice * args.count[kSparseSlice * s];
  Guarded<std::uint16_t> count(kSparseSlice * args.slices, edge);
  Guarded<std::uint8_t> row(count.size(), edge), column(entries, edge);
  Guarded<float> value(entries, edge), x(a.k * m, edge), out(a.n * m, edge);
  copy_to(count, args.count);
  copy_to(row, args.row);
  copy_to(column, args.column);
  value.fill(NAN);
  std::int64_t at = 0;
  for (int s = 0; s < args.slices; ++s) {
    for (int r = 0; r < kSparseSlice; ++r) {
      for (int j = 0; j < count[kSparseSlice * s + r]; ++j) {
        value[at + kSparseSlice * j + r] = args.value[at + kSparseSlice * j + r];
      }
    }
    at += kSparseSlice * count[kSparseSlice * s];
  }
  for (std::int64_t i = 0; i < x.size(); ++i) {
    x[i] = random.between(0, 50) == 0 ? std::numeric_limits<float>::infinity() : random.real(3.0f);
  }
  for (std::int64_t i = 0; i < out.size(); ++i) out[i] = random.real(1.0f);
  std::vector<float> expected(out.data(), out.data() + out.size());
  for (std::int64_t n = 0; n < a.n; ++n) {
    for (std::int64_t i = a.indptr[n]; i < a.indptr[n + 1]; ++i) {
      for (int j = 0; j < m; ++j) {
        float& sum = expected[static_cast<std::size_t>(n * m + j)];
        sum = std::fma(a.values[i], x[a.indices[i] * m + j], sum);
      }
    }
  }
  args.count = count.data();
  args.row = row.data();
  args.column = column.data();
  args.value = value.data();
  args.x = x.data();
  args.out = out.data();
  args.m = m;
  kernel.run(args);
  const std::string what = std::string(kernel.name) + " n=" + std::to_string(a.n) +
                           " k=" + std::to_string(a.k) + " m=" + std::to_string(m);
  check_same(out.data(), expected.data(), out.size(), what);
  time_case(what, [&] { kernel.run(args); });
}

void check_transpose(const KernelRow<TransposeF32Args>& kernel, std::int64_t rows,
                     std::int64_t columns, Edge edge) {
  const std::int64_t gap = edge == Edge::kEnd ? 0 : 3;
  const std::int64_t x_stride = columns + gap, out_stride = rows + gap;
  Guarded<float> x(rows * x_stride - gap, edge), out(columns * out_stride - gap, edge);
  for (std::int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
  out.fill(-1.0f);
  std::vector<float> expected(static_cast<std::size_t>(out.size()), -1.0f);
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      expected[static_cast<std::size_t>(j * out_stride + i)] = x[i * x_stride + j];
    }
  }
  kernel.run({x.data(), x_stride, rows, columns, out.data(), out_stride});
  const std::string what =
      std::string(kernel.name) + " " + std::to_string(rows) + "x" + std::to_string(columns);
  check_same(out.data(), expected.data(), out.size(), what);
  time_case(what, [&] { kernel.run({x.data(), x_stride, rows, columns, out.data(), out_stride}); });
}

}  // namespace

void test_sliced_f32() {
  Random random(20240311);
  for (const std::int64_t n : {0, 1, 7, 8, 9, 127, 128, 129, 300}) {
    for (const std::int64_t k : {0, 1, 255, 256, 257, 700}) {
      for (const std::int64_t step : {1, 5, 400}) check_round_trip(random_rows(n, k, step, random));
    }
  }
  check_invalid({1, 2}, {0, 1}, "a start above 0");
  check_invalid({0, 1}, {0, 1}, "an end below nnz");
  check_invalid({0, 3}, {0, 1}, "an end above nnz");
  check_invalid({0, 5, 2}, {0, 1}, "a pointer beyond nnz");
  check_invalid({0, 2, 1, 2}, {0, 1}, "falling pointers");
  check_invalid({0, 2}, {1, 0}, "an unsorted row");
  check_invalid({0, 2}, {1, 1}, "a duplicate");
  check_invalid({0, 1}, {4}, "a column beyond k");
  check_invalid({0, 1}, {-1}, "a negative column");
}

void test_spmm_f32() {
  Random random(20240312);
  for_each_row<SpmmF32Args>(
      [&](const KernelRow<SpmmF32Args>& kernel) {
        for (const int m : {1, 16, 32, 48, 64}) {
          for (const std::int64_t n : {1, 4, 8, 9, 20, 128}) {
            for (const std::int64_t k : {1, 3, 100, 256}) {
              const Edge edge = (n + k) % 2 == 0 ? Edge::kEnd : Edge::kFront;
              check_block(kernel, random_rows(n, k, 5, random), m, edge, random);
              check_block(kernel, random_rows(n, k, 1, random), m, edge, random);
            }
          }
        }
      },
      [&](const KernelRow<SpmmF32Args>& kernel) {
        for (const int m : {1, 64})
          check_block(kernel, random_rows(128, 256, 8, random), m, Edge::kEnd, random);
      });
}

void test_transpose_f32() {
  for_each_row<TransposeF32Args>(
      [&](const KernelRow<TransposeF32Args>& kernel) {
        for (const std::int64_t rows : {1, 3, 7, 8, 9, 16, 33}) {
          for (const std::int64_t columns : {1, 4, 5, 15, 16, 17, 64}) {
            check_transpose(kernel, rows, columns, Edge::kEnd);
            check_transpose(kernel, rows, columns, Edge::kFront);
          }
        }
      },
      [&](const KernelRow<TransposeF32Args>& kernel) {
        check_transpose(kernel, 64, 256, Edge::kEnd);
      });
}

}  // namespace octavo_test
