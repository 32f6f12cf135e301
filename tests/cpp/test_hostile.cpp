// SPDX-License-Identifier: Apache-2.0
// What callers may bring along: sizes whose products wrap, bytes of foreign booleans, zero points
// at the ends of int32. tests/kernels/test_float_mode.py has the floating-point mode of a thread.
#include <limits>
#include <new>
#include <stdexcept>

#include "check.h"
#include "ops/attention.h"
#include "ops/linear.h"
#include "ops/matmul.h"
#include "ops/parameter_runs.h"
#include "ops/work_split.h"
#include "tests.h"
#include "tiers.h"

namespace octavo_test {
namespace {

using namespace octavo;

constexpr std::int64_t kHuge = std::int64_t{1} << 62;

template <class Error, class Call>
void throws(const Call& call, const std::string& what) {
  try {
    call();
  } catch (const Error&) {
    check(true, what);
    return;
  } catch (...) {
  }
  check(false, what);
}

void test_wrapping_sizes() {
  const std::uint8_t byte = 0;
  const float zero = 0;
  throws<std::length_error>([&] { DenseWeight(&byte, 0, kHuge, 0, 0, 0); }, "columns x 4 bytes");
  throws<std::length_error>([&] { DenseWeight(&byte, kHuge / 4, 1, 0, 0, 0); }, "k x a panel");
  throws<std::bad_alloc>([&] { DenseWeight(&byte, kHuge / 1024, 1, 0, 0, 0); },
                         "more than there is");
  throws<std::length_error>([&] { (void)ParameterLayout{kHuge, 4, 1, 0}.size(); }, "a layout");
  throws<std::length_error>([&] { (void)ParameterLayout{kHuge, 9, 8, 2}.parameter_count(); },
                            "parameters of blocks");
  throws<std::length_error>(
      [&] { (void)octavo::round_up(std::numeric_limits<std::int64_t>::max(), 64); }, "rounding up");
  float out = 0;
  const TokenRows rows = {&zero, 0, 0};
  throws<std::length_error>(
      [&] { attention({1, 1, kHuge / 4, 1, 1}, rows, rows, rows, nullptr, {}, 1.0f, &out); },
      "a list of keys");
  check(ParameterLayout{1, 7, 1, kHuge}.parameter_count() == 1, "a block beyond all channels");
  check(items_per_task(kHuge, 0, 100) <= INT32_MAX, "rows without columns");
  check(items_per_task(100, 100 * 768, 32768) == 42, "rows of a task");
  matmul_int8(1, 0, kHuge / 4, 1, {&byte, 0, 0, false}, 0, {&byte, 0, 0, false}, 0, {}, {},
              nullptr);
}

// Zero points that no checked caller has: sums are right modulo 2^32.
void test_zero_points() {
  constexpr std::int32_t kLowest = std::numeric_limits<std::int32_t>::min();
  constexpr std::int32_t kHighest = std::numeric_limits<std::int32_t>::max();
  const std::uint8_t a[4] = {1, 2, 3, 4}, b[4] = {5, 6, 7, 8};
  for (const bool is_unsigned : {false, true}) {
    for (const std::int32_t point : {kLowest, kHighest, 0}) {
      std::int32_t out = 0;
      matmul_int8(1, 1, 4, 1, {a, 4, 1, is_unsigned}, 0, {b, 1, 1, is_unsigned}, 0, {&point, false},
                  {&point, false}, &out);
      std::uint32_t expected = 0;
      for (int i = 0; i < 4; ++i) {
        expected +=
            (a[i] - static_cast<std::uint32_t>(point)) * (b[i] - static_cast<std::uint32_t>(point));
      }
      check(static_cast<std::uint32_t>(out) == expected, "a product with extreme zero points");
    }
  }
  const std::int8_t codes[4] = {1, -2, 3, -4};
  const float scale = 1.0f;
  const Linear linear(codes, 1, 4, &scale, nullptr, {});
  for (const std::int32_t point : {kLowest, kHighest}) {
    float out = 0;
    linear.run_codes(1, {codes, 4}, &scale, &point, {}, {&out, 1});
    const auto sum = static_cast<std::int32_t>(30u - static_cast<std::uint32_t>(point) * -2u);
    check(out == static_cast<float>(sum), "rows of codes with extreme zero points");
    LinearOptions options;
    options.input_scale = 1.0f;
    options.input_zero_point = point;
    const float x[4] = {1, 2, 3, 4};
    Linear(codes, 1, 4, &scale, nullptr, options).run(1, {x, 4}, {}, {&out, 1});
    check(out == out, "an extreme static zero point");
  }
}

void test_foreign_booleans() {
  constexpr std::int64_t kKeys = 40, kWidth = 16;
  Random random(5);
  std::vector<float> x(kKeys * kWidth);
  for (float& value : x) value = random.real(2);
  const TokenRows rows = {x.data(), kKeys * kWidth, kWidth};
  std::vector<std::uint8_t> ones(kKeys), odd(kKeys);
  for (std::int64_t j = 0; j < kKeys; ++j) {
    ones[j] = random.between(0, 2) != 0 ? 1 : 0;
    odd[j] = ones[j] == 0 ? 0 : static_cast<std::uint8_t>(random.between(2, 255));
  }
  std::vector<float> expected(x.size()), actual(x.size());
  const AttentionShape shape = {1, kKeys, kKeys, 2, kWidth / 2};
  attention(shape, rows, rows, rows, ones.data(), {}, 0.5f, expected.data());
  attention(shape, rows, rows, rows, odd.data(), {}, 0.5f, actual.data());
  check_same(actual.data(), expected.data(), kKeys * kWidth, "a mask of other bytes than 0 and 1");
}

}  // namespace

void test_hostile() {
  test_wrapping_sizes();
  test_foreign_booleans();
  for_each_tier([](const std::string&) { test_zero_points(); });
}

}  // namespace octavo_test
