// SPDX-License-Identifier: Apache-2.0
// requantize rows: int32 sums of a static int8 layer to codes.
#include <cmath>
#include <string>
#include <vector>

#include "bench.h"
#include "guarded.h"
#include "memory/sizes.h"
#include "reference.h"
#include "tests.h"

namespace octavo_test {
namespace {

using namespace octavo;
using Row = KernelRow<RequantizeArgs>;

// Codes in [low, high].
struct Range {
  int zero_point, low, high;
};

void check_requantize(const Row& kernel, std::int64_t m, std::int64_t n, const Range& range,
                      Edge edge, Random& random) {
  const std::int64_t columns = octavo_test::round_up(n, 16);
  const std::int64_t sums_stride = columns + (edge == Edge::kEnd ? 0 : 16);
  const std::int64_t out_stride = edge == Edge::kEnd ? n : n + 5;
  Guarded<std::int32_t> sums((m - 1) * sums_stride + columns, edge), offset(n, edge);
  Guarded<float> multiplier(n, edge);
  Guarded<std::int8_t> out((m - 1) * out_stride + n, edge);
  for (std::int64_t i = 0; i < sums.size(); ++i) {
    sums[i] = static_cast<std::int32_t>(
        i % 7 == 6 && !is_timed_case() ? random.next() : random.between(-40000, 40000));
  }
  for (std::int64_t i = 0; i < n; ++i) {
    offset[i] = static_cast<std::int32_t>(random.next());
    if (i % 2 == 0) offset[i] %= 30000;
    // Halves, so that sums are ties; 3 is far beyond int32 for sums of any size.
    multiplier[i] = i % 3 == 0 ? 0.5f : i % 5 == 4 ? 3.0f : std::fabs(random.real(0.01f));
  }
  out.fill(99);
  RequantizeArgs args;
  args.sums = sums.data();
  args.sums_stride = sums_stride;
  args.m = static_cast<std::int32_t>(m);
  args.n = static_cast<std::int32_t>(n);
  args.offset = offset.data();
  args.multiplier = multiplier.data();
  args.low = static_cast<float>(range.low - range.zero_point);
  args.high = static_cast<float>(range.high - range.zero_point);
  args.zero_point = range.zero_point;
  args.out = out.data();
  args.out_stride = out_stride;
  kernel.run(args);
  std::vector<std::int8_t> expected(static_cast<std::size_t>(out.size()), 99);
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      const std::int32_t sum = wrapping_add(sums[i * sums_stride + j], offset[j]);
      const float t = static_cast<float>(sum) * multiplier[j];
      expected[static_cast<std::size_t>(i * out_stride + j)] =
          static_cast<std::int8_t>(saturated(t, range.zero_point, range.low, range.high));
    }
  }
  const std::string what =
      std::string(kernel.name) + " m=" + std::to_string(m) + " n=" + std::to_string(n);
  check_same(out.data(), expected.data(), out.size(), what);
  time_case(what, [&] { kernel.run(args); });
}

}  // namespace

void test_requantize() {
  Random random(20261130);
  const auto checks = [&](const Row& kernel) {
    for (const std::int64_t n : {1, 15, 16, 17, 48, 63, 64, 65, 144}) {
      for (const Range& range :
           {Range{0, -128, 127}, {-128, -128, 127}, {127, -128, 127}, {-3, -3, 90}, {5, 7, 7}}) {
        check_requantize(kernel, 4, n, range, Edge::kEnd, random);
        check_requantize(kernel, 3, n, range, Edge::kFront, random);
      }
    }
  };
  for_each_row<RequantizeArgs>(checks, [&](const Row& kernel) {
    for (const std::int64_t n : {16, 40, 144, 672}) {
      // Away from the guard page: a mask that reaches into one is slow.
      check_requantize(kernel, 64, n, {-128, -128, 127}, Edge::kFront, random);
    }
  });
}

}  // namespace octavo_test
