// SPDX-License-Identifier: Apache-2.0
// The fused multiply-add: in double, as tiers without the instruction compute it, and of all tiers.
#include "kernels/common/fused.h"

#include <cmath>
#include <limits>

#include "check.h"
#include "dispatch/registry.h"
#include "tests.h"

namespace octavo_test {
namespace {

using namespace octavo;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kMax = std::numeric_limits<float>::max();
constexpr float kTiny = std::numeric_limits<float>::denorm_min();
constexpr float kFactor = 4099.0f;

struct Sum {
  float a, b, c, expected;
};

// a * b is an odd number of 25 bits, midway between two floats, and c too small for double to keep:
// its sign decides. Rounded to double first, every second one goes the wrong way.
std::vector<Sum> ties() {
  std::vector<Sum> out;
  for (int i = 0; i < 64; ++i) {
    const auto product = static_cast<std::int64_t>(kFactor) * (4097 + 2 * i);
    const auto up = static_cast<float>(product + 1), down = static_cast<float>(product - 1);
    const auto a = static_cast<float>(4097 + 2 * i);
    for (const float c : {0x1p-40f, kTiny}) {
      out.push_back({a, kFactor, c, up});
      out.push_back({a, kFactor, -c, down});
      out.push_back({-a, kFactor, c, -down});
      out.push_back({-a, kFactor, -c, -up});
    }
  }
  return out;
}

void check_sum(const Sum& sum) {
  const float in_double = fma_in_double(sum.a, sum.b, sum.c);
  const float chosen = fma1(sum.a, sum.b, sum.c);
  const std::string what = std::to_string(sum.a) + " * " + std::to_string(sum.b) + " + " +
                           std::to_string(sum.c) + " fused";
  check_same(&in_double, &sum.expected, 1, what + " in double");
  check_same(&chosen, &sum.expected, 1, what);
}

void check_by_library(float a, float b, float c) { check_sum({a, b, c, std::fma(a, b, c)}); }

float any_float(Random& random) {
  const auto bits = static_cast<std::uint32_t>(random.next());
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// Eight sums by one block of a sparse product: eight rows of one value, times a column of `m`. With
// `short_slice` the last row is empty, which takes another way through the kernel.
void check_kernel(const KernelRow<SpmmF32Args>& kernel, const Sum* sums, int m, bool short_slice) {
  const int rows = short_slice ? kSparseSlice - 1 : kSparseSlice;
  std::uint16_t count[kSparseSlice] = {};
  std::uint8_t row[kSparseSlice] = {}, column[kSparseSlice] = {};
  float value[kSparseSlice] = {};
  std::vector<float> out, expected;
  for (int r = 0; r < rows; ++r) {
    count[r] = 1;
    row[r] = static_cast<std::uint8_t>(r);
    value[r] = sums[r].a;
    out.insert(out.end(), static_cast<std::size_t>(m), sums[r].c);
    expected.insert(expected.end(), static_cast<std::size_t>(m), sums[r].expected);
  }
  const std::vector<float> x(static_cast<std::size_t>(m), kFactor);
  kernel.run({count, row, column, value, 1, x.data(), out.data(), m});
  check_same(out.data(), expected.data(), static_cast<std::int64_t>(out.size()),
             std::string(kernel.name) + " at ties, m=" + std::to_string(m));
}

}  // namespace

void test_fused() {
  for (const Sum& tie : ties()) check_sum(tie);
  for (const Sum& sum :
       {Sum{1.0f, kMax, 0x1p103f, kInf}, Sum{1.0f, kMax, 0x1.fffffep102f, kMax},
        Sum{kMax, kMax, -kMax, kInf}, Sum{kMax, -kMax, kMax, -kInf}, Sum{kMax, kMax, -kInf, -kInf},
        Sum{kInf, 0.0f, 1.0f, NAN}, Sum{kInf, 1.0f, -kInf, NAN}, Sum{kInf, -2.0f, 1.0f, -kInf},
        Sum{NAN, 1.0f, 1.0f, NAN}, Sum{1.0f, 1.0f, NAN, NAN}, Sum{-0.0f, 1.0f, -0.0f, -0.0f},
        Sum{-0.0f, 1.0f, 0.0f, 0.0f}, Sum{-1.0f, 1.0f, 1.0f, 0.0f}, Sum{kTiny, 0.5f, 0.0f, 0.0f},
        Sum{kTiny, 0.5f, kTiny, 2 * kTiny}, Sum{kTiny, 1.5f, 0.0f, 2 * kTiny}}) {
    check_sum(sum);
  }
  Random random(20240310);
  for (int i = 0; i < 20000; ++i) {
    check_by_library(any_float(random), any_float(random), any_float(random));
    const float a = random.real(4.0f), b = random.real(4.0f), near_one = 1.0f + random.real(1e-6f);
    check_by_library(a, b, random.real(4.0f));
    check_by_library(a, b, -(a * b));
    check_by_library(a, b, -(a * b) * near_one);
    check_by_library(a * 0x1p-70f, b * 0x1p-70f, random.real(0x1p-135f));
    check_by_library(a * 0x1p-60f, b * 0x1p-66f, random.real(0x1p-126f));
  }
  const std::vector<Sum> sums = ties();
  for (const auto& kernel : kernel_rows<SpmmF32Args>()) {
    if (!(detected_isas() & bit(kernel.isa))) continue;
    for (std::size_t i = 0; i + kSparseSlice <= sums.size(); i += kSparseSlice) {
      for (const int m : {1, 16, 64}) {
        check_kernel(kernel, &sums[i], m, false);
        check_kernel(kernel, &sums[i], m, true);
      }
    }
  }
}

}  // namespace octavo_test
