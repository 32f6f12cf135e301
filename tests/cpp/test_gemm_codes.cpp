// SPDX-License-Identifier: Apache-2.0
// gemm_codes_s8 rows: static int8 layers in one pass, on weights that DenseWeight packed.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench.h"
#include "guarded.h"
#include "memory/sizes.h"
#include "reference.h"
#include "tests.h"
#include "weights/dense.h"

namespace octavo_test {
namespace {

using namespace octavo;
using Row = KernelRow<GemmCodesS8Args>;

constexpr int kZeroPoint = 9, kLow = -100, kHigh = 125;

void check_codes(const Row& kernel, std::int64_t m, std::int64_t k, std::int64_t n, Edge edge,
                 Random& random) {
  const std::int64_t a_stride = edge == Edge::kEnd ? k : k + 12, out_stride = n + (k % 8 == 0);
  Guarded<std::int8_t> a((m - 1) * a_stride + k, edge), out((m - 1) * out_stride + n, edge);
  Guarded<std::int32_t> offset(n, edge), weight_sum(n, edge), negative_sum(n, edge);
  Guarded<float> multiplier(n, edge);
  std::vector<std::int8_t> codes(static_cast<std::size_t>(n * k));
  // Extremes often: where all are, sums of pairs are the largest that there are.
  const auto code = [&](bool extreme) {
    return static_cast<std::int8_t>(extreme ? -128 : random.between(-128, 127));
  };
  for (std::int64_t i = 0; i < a.size(); ++i) a[i] = code(i / 8 % 3 == 0);
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = code(i / 8 % 5 < 2);
  for (std::int64_t j = 0; j < n; ++j) {
    offset[j] = static_cast<std::int32_t>(random.between(-30000, 30000));
    multiplier[j] = std::fabs(random.real(0.01f));
    weight_sum[j] = negative_sum[j] = 0;
    for (std::int64_t i = 0; i < k; ++i) {
      const int weight = codes[static_cast<std::size_t>(j * k + i)];
      weight_sum[j] += weight;
      negative_sum[j] += weight < 0 ? -weight : 0;
    }
  }
  out.fill(99);
  const DenseWeight weight(codes.data(), n, k);
  const GemmCodesS8Args args = {a.data(),
                                a_stride,
                                static_cast<std::int32_t>(m),
                                static_cast<std::int32_t>(k / 4),
                                weight.panel(0),
                                weight.panel_stride(),
                                static_cast<std::int32_t>(n),
                                offset.data(),
                                weight_sum.data(),
                                negative_sum.data(),
                                multiplier.data(),
                                kLow - kZeroPoint,
                                kHigh - kZeroPoint,
                                kZeroPoint,
                                out.data(),
                                out_stride};
  kernel.run(args);
  std::vector<std::int8_t> expected(static_cast<std::size_t>(out.size()), 99);
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      std::int32_t sum = offset[j];
      for (std::int64_t g = 0; g < k; ++g) {
        sum += a[i * a_stride + g] * codes[static_cast<std::size_t>(j * k + g)];
      }
      const float t = static_cast<float>(sum) * multiplier[j];
      expected[static_cast<std::size_t>(i * out_stride + j)] =
          static_cast<std::int8_t>(saturated(t, kZeroPoint, kLow, kHigh));
    }
  }
  const std::string what = std::string(kernel.name) + " m=" + std::to_string(m) +
                           " n=" + std::to_string(n) + " k=" + std::to_string(k);
  check_same(out.data(), expected.data(), out.size(), what);
  time_case(what, [&] { kernel.run(args); });
}

void check_row(const Row& kernel) {
  Random random(20261203);
  for (const std::int64_t m : {1, 3, 4, 5, 6, 7, 8, 9, 12, 13, 17, 22}) {
    for (const std::int64_t n : {1, 15, 16, 24, 40, 48, 64, 80, 100, 112}) {
      for (const std::int64_t k : {4, 28, 64}) {
        check_codes(kernel, m, k, n, (m + k) % 8 < 4 ? Edge::kEnd : Edge::kFront, random);
      }
    }
  }
}

}  // namespace

void test_gemm_codes_s8() {
  for_each_row<GemmCodesS8Args>(check_row, [](const Row& kernel) {
    Random random(20261204);
    check_codes(kernel, 64, 32, 16, Edge::kFront, random);
    check_codes(kernel, 64, 16, 96, Edge::kFront, random);
    check_codes(kernel, 64, 144, 24, Edge::kFront, random);
    check_codes(kernel, 64, 112, 672, Edge::kFront, random);
  });
}

}  // namespace octavo_test
