// SPDX-License-Identifier: Apache-2.0
// The packed float32 weight, and gemm_f32 rows.
#include <cmath>
#include <limits>

#include "bench.h"
#include "guarded.h"
#include "tests.h"
#include "weights/panels_f32.h"

namespace octavo_test {
namespace {

using namespace octavo;

void check_round_trip(std::int64_t n, std::int64_t k, Random& random) {
  std::vector<float> values(static_cast<std::size_t>(n * k));
  for (float& value : values) value = random.real(2.0f);
  const PanelsF32 weight(values.data(), n, k);
  const std::string what = "panels " + std::to_string(n) + "x" + std::to_string(k);
  for (std::int64_t begin = 0; begin <= n; begin += 5) {
    for (const std::int64_t end : {begin, (begin + n) / 2, n}) {
      Guarded<float> rows((end - begin) * k);
      weight.unpack(begin, end, rows.data());
      check_same(rows.data(), values.data() + begin * k, rows.size(), what + " comes back");
    }
  }
  for (std::int64_t i = 0; i < k; ++i) {
    for (std::int64_t j = n; j < weight.panels() * PanelsF32::kWidth; ++j) {
      const float padding = weight.panel(j / PanelsF32::kWidth)[i * 16 + j % 16];
      check(padding == 0.0f, what + " is padded with zeros");
    }
  }
}

// With every array in memory of its own that ends, or begins, at a guard page.
void check_product(const KernelRow<GemmF32Args>& kernel, int m, int panels, std::int64_t k,
                   bool accumulate, Edge edge, Random& random) {
  const std::int64_t gap = edge == Edge::kEnd ? 0 : 3, n = 16 * panels;
  Guarded<float> x(m * (k + gap) - gap, edge), w(panels * (16 * k + gap) - gap, edge);
  Guarded<float> c(m * (n + gap) - gap, edge);
  for (std::int64_t i = 0; i < x.size(); ++i) {
    const bool wild = !is_timed_case() && random.between(0, 99) == 0;
    x[i] = wild ? std::numeric_limits<float>::infinity() : random.real(3.0f);
  }
  for (std::int64_t i = 0; i < w.size(); ++i) w[i] = random.real(1.0f);
  for (std::int64_t i = 0; i < c.size(); ++i) c[i] = random.real(9.0f);
  std::vector<float> expected(c.data(), c.data() + c.size());
  for (int i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      float& sum = expected[static_cast<std::size_t>(i * (n + gap) + j)];
      if (!accumulate) sum = 0.0f;
      const std::int64_t column = j / 16 * (16 * k + gap) + j % 16;
      for (std::int64_t e = 0; e < k; ++e) {
        sum = std::fma(x[i * (k + gap) + e], w[column + 16 * e], sum);
      }
    }
  }
  const GemmF32Args args = {x.data(), k + gap, w.data(), 16 * k + gap, c.data(), n + gap,
                            m,        panels,  k,        accumulate};
  kernel.run(args);
  const std::string what = std::string(kernel.name) + " m=" + std::to_string(m) +
                           " n=" + std::to_string(n) + " k=" + std::to_string(k);
  check_same(c.data(), expected.data(), c.size(), what);
  time_case(what, [&] { kernel.run(args); });
}

}  // namespace

void test_panels_f32() {
  Random random(20261129);
  for (const std::int64_t n : {0, 1, 15, 16, 17, 40}) {
    for (const std::int64_t k : {0, 1, 5, 64}) check_round_trip(n, k, random);
  }
}

void test_gemm_f32() {
  Random random(20261130);
  for_each_row<GemmF32Args>(
      [&](const KernelRow<GemmF32Args>& kernel) {
        for (int m = 1; m <= 26; ++m) {
          for (const int panels : {1, 2, 3, 7, 15}) {
            const Edge edge = (m + panels) % 2 == 0 ? Edge::kEnd : Edge::kFront;
            check_product(kernel, m, panels, 1 + (m * panels) % 9, m % 3 == 0, edge, random);
          }
        }
        for (const bool accumulate : {false, true}) {
          check_product(kernel, 3, 2, 0, accumulate, Edge::kFront, random);
        }
      },
      [&](const KernelRow<GemmF32Args>& kernel) {
        for (const int m : {1, 32}) check_product(kernel, m, 12, 768, false, Edge::kEnd, random);
      });
}

}  // namespace octavo_test
