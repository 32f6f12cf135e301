// SPDX-License-Identifier: Apache-2.0
// The families of int8 attention: attention_codes, attention_weights, attention_sum. Bit for bit.
#include <cfloat>
#include <cmath>
#include <limits>

#include "bench.h"
#include "guarded.h"
#include "reference.h"
#include "tests.h"

namespace octavo_test {
namespace {

using namespace octavo;

constexpr float kInf = std::numeric_limits<float>::infinity();
using Floats = std::vector<float>;
using Bytes = std::vector<std::uint8_t>;

constexpr ActivationEncoding kForms[] = {ActivationEncoding::kS8, ActivationEncoding::kSignAbs,
                                         ActivationEncoding::kU8};

// What a signed code is in a form; `planes` is where its absolute value goes.
void put_code(ActivationEncoding form, int code, std::uint8_t* byte, std::uint8_t* magnitude) {
  *byte = static_cast<std::uint8_t>(code + (form == ActivationEncoding::kU8 ? 128 : 0));
  if (form != ActivationEncoding::kSignAbs) return;
  *byte = code < 0 ? 255 : 0;
  *magnitude = static_cast<std::uint8_t>(std::abs(code));
}

float head_value(int kind, std::int64_t e, std::int64_t d, Random& random) {
  if (is_timed_case()) return random.real(4.0f);
  switch (kind % 9) {
    case 0: return 0.0f;
    case 1: return e % 2 ? FLT_MAX : -FLT_MAX;
    case 2: return random.real(1.0e-39f);
    case 3: return static_cast<float>(random.between(-254, 254)) / 2;
    case 4: return e == d - 1 ? NAN : 1.0f;
    case 5: return e == d / 2 ? -kInf : random.real(2.0f);
    case 6: return -0.0f;
    default: return random.real(4.0f);
  }
}

void check_codes(const KernelRow<AttentionCodesArgs>& kernel, ActivationEncoding form,
                 std::int64_t rows, std::int64_t d, Edge edge, Random& random) {
  constexpr std::uint8_t kFilling = 0xa5;
  const std::int64_t planes = form == ActivationEncoding::kSignAbs ? 2 : 1;
  const std::int64_t stride = edge == Edge::kEnd ? d : d + 3;
  Guarded<float> x((rows - 1) * stride + d, edge), scale(rows, edge);
  Guarded<std::uint8_t> codes(rows * d * planes, edge);
  x.fill(1.0f);
  codes.fill(kFilling);
  Floats scales;
  Bytes expected(static_cast<std::size_t>(codes.size()), kFilling);
  for (std::int64_t m = 0; m < rows; ++m) {
    float largest = 0.0f;
    bool finite = true;
    for (std::int64_t e = 0; e < d; ++e) {
      const float value = head_value(static_cast<int>(m), e, d, random);
      x[m * stride + e] = value;
      largest = std::max(largest, std::fabs(value));
      finite = finite && std::isfinite(value);
    }
    const float unit = std::max(largest / 127.0f, FLT_MIN);
    scales.push_back(!finite ? NAN : largest == 0.0f ? 0.0f : unit);
    for (std::int64_t e = 0; e < d; ++e) {
      const float quotient = finite ? x[m * stride + e] * (1.0f / unit) : 0.0f;
      std::uint8_t* byte = expected.data() + m * d * planes + e;
      put_code(form, static_cast<int>(std::nearbyint(quotient)), byte, byte + d);
    }
  }
  const AttentionCodesArgs args = {x.data(),
                                   stride,
                                   static_cast<std::int32_t>(rows),
                                   static_cast<std::int32_t>(d),
                                   form,
                                   codes.data(),
                                   d * planes,
                                   d,
                                   scale.data()};
  kernel.run(args);
  const std::string what =
      std::string(kernel.name) + " rows=" + std::to_string(rows) + " d=" + std::to_string(d);
  check_same(scale.data(), scales.data(), rows, what + " scales");
  check_same(codes.data(), expected.data(), codes.size(), what + " codes");
  time_case(what, [&] { kernel.run(args); });
}

float exp2_scaled_of(float x, float factor) {
  const float whole = std::fma(x, factor, 12583039.0f);
  if (whole < 12583039.0f - 64.0f) return 0.0f;
  const float n = whole - 12583039.0f;
  if (std::isnan(n)) return n;
  const float f = std::fma(x, factor, -n);
  float p = 9.67606e-3f;
  for (const float c : {5.588240e-2f, 2.4013971e-1f, 6.9313675e-1f, 1.0f}) p = std::fma(p, f, c);
  return p * std::ldexp(1.0f, static_cast<int>(n));
}

// Largest without NaNs.
void raise(float& most, float value) {
  if (value > most) most = value;
}

struct WeightsCase {
  std::int64_t n;
  ActivationEncoding form;
  bool has_bias, ranges;
};

struct RowWeights {
  float top = -kInf, sum = 0.0f, largest = 0.0f;
  std::vector<int> codes;
};

// A row's scores are z already.
RowWeights weights_of(const Floats& z, const float* value_scale, std::int64_t first,
                      std::int64_t last, float factor) {
  RowWeights row;
  Floats e(z.size(), 0.0f), p(z.size(), 0.0f);
  for (std::int64_t j = first; j < last; ++j) raise(row.top, z[j]);
  for (std::int64_t j = first; j < last; ++j) {
    e[j] = exp2_scaled_of(z[j] - row.top, factor);
    p[j] = e[j] * value_scale[j];
    raise(row.largest, p[j]);
  }
  row.sum = row_sum(e);
  if (!(row.sum >= 0.0f && row.largest >= std::ldexp(1.0f, -119))) row.largest = 0.0f;
  for (const float weight : p) {
    const float code = row.largest > 0.0f ? weight * (255.0f / row.largest) : 0.0f;
    row.codes.push_back(static_cast<int>(std::nearbyint(code)));
  }
  return row;
}

void check_weights(const KernelRow<AttentionWeightsArgs>& kernel, const WeightsCase& c,
                   Random& random) {
  constexpr std::int64_t kRows = 11;
  const std::int64_t n_pad = round_up(c.n, 16), width = round_up(c.n, 64);
  const std::int64_t planes = c.form == ActivationEncoding::kSignAbs ? 2 : 1;
  Guarded<std::int32_t> scores(kRows * n_pad), shift(n_pad), first(kRows), last(kRows);
  Guarded<float> key_scale(n_pad), value_scale(n_pad), factor(kRows), bias(kRows * n_pad);
  Guarded<float> top(kRows), sum(kRows), largest(kRows);
  Guarded<std::uint8_t> codes(kRows * width * planes);
  for (std::int64_t j = 0; j < n_pad; ++j) {
    shift[j] = static_cast<std::int32_t>(random.between(-50000, 50000));
    key_scale[j] = std::fabs(random.real(0.01f));
    value_scale[j] = j % 5 == 3 ? 0.0f : std::fabs(random.real(0.01f));
  }
  for (std::int64_t i = 0; i < kRows; ++i) {
    const bool cut = c.ranges && i % 3 != 0;
    first[i] = static_cast<std::int32_t>(cut ? random.between(0, c.n) : 0);
    last[i] = static_cast<std::int32_t>(cut ? random.between(first[i], c.n) : c.n);
    factor[i] = i == 7 && !is_timed_case() ? 0.0f : std::fabs(random.real(0.1f));
  }
  if (!is_timed_case()) key_scale[c.n / 2] = c.ranges ? NAN : 1.0e-3f, factor[5] = NAN;
  if (c.n > 20 && c.has_bias) value_scale[c.n - 1] = 1.0e-37f;
  const bool shifted = c.form == ActivationEncoding::kU8;
  Bytes expected(static_cast<std::size_t>(codes.size()), 0);
  Floats tops, sums, largests;
  for (std::int64_t i = 0; i < kRows; ++i) {
    Floats z;
    for (std::int64_t j = 0; j < n_pad; ++j) {
      scores[i * n_pad + j] = static_cast<std::int32_t>(random.between(-400000, 400000));
      bias[i * n_pad + j] = random.real(5.0f);
      const std::int32_t score = scores[i * n_pad + j] - (shifted ? shift[j] : 0);
      const float scaled = static_cast<float>(score) * key_scale[j];
      const float added = bias[i * n_pad + j] * 1.44269502f;
      z.push_back(c.has_bias ? std::fma(scaled, factor[i], added) : scaled);
    }
    const RowWeights row =
        weights_of(z, value_scale.data(), first[i], last[i], c.has_bias ? 1.0f : factor[i]);
    tops.push_back(row.top);
    sums.push_back(row.sum);
    largests.push_back(row.largest);
    for (std::int64_t j = 0; j < n_pad; ++j) {
      std::uint8_t* byte = expected.data() + i * width * planes + j;
      put_code(c.form, row.codes[static_cast<std::size_t>(j)] - 128, byte, byte + width);
    }
  }
  AttentionWeightsArgs args;
  args.scores = scores.data();
  args.scores_stride = n_pad;
  args.key_shift = shifted ? shift.data() : nullptr;
  args.key_scale = key_scale.data();
  args.value_scale = value_scale.data();
  args.bias = c.has_bias ? bias.data() : nullptr;
  args.bias_stride = n_pad;
  args.m = kRows;
  args.n = static_cast<std::int32_t>(c.n);
  args.first = first.data();
  args.last = last.data();
  args.factor = factor.data();
  args.form = c.form;
  args.codes = codes.data();
  args.codes_stride = width * planes;
  args.abs_offset = width;
  args.width = static_cast<std::int32_t>(width);
  args.top = top.data();
  args.sum = sum.data();
  args.largest = largest.data();
  kernel.run(args);
  const std::string what = std::string(kernel.name) + " n=" + std::to_string(c.n) +
                           (c.has_bias ? " with bias" : "") + (c.ranges ? " with ranges" : "");
  check_same(top.data(), tops.data(), kRows, what + " top");
  check_same(sum.data(), sums.data(), kRows, what + " sum");
  check_same(largest.data(), largests.data(), kRows, what + " largest");
  check_same(codes.data(), expected.data(), codes.size(), what + " codes");
  time_case(what, [&] { kernel.run(args); });
}

void check_sum(const KernelRow<AttentionSumArgs>& kernel, std::int32_t blocks, std::int32_t d,
               bool has_shift, Random& random) {
  constexpr std::int32_t kRows = 5;
  const std::int64_t d_pad = round_up(d, 16), all = blocks * kRows, stride = d + 2;
  Guarded<std::int32_t> sums(all * d_pad), shift(blocks * d_pad);
  Guarded<float> top(all), sum(all), largest(all), factor(kRows), out((kRows - 1) * stride + d);
  for (std::int64_t i = 0; i < sums.size(); ++i) {
    sums[i] = static_cast<std::int32_t>(random.between(-8000000, 8000000));
  }
  for (std::int64_t i = 0; i < shift.size(); ++i) {
    shift[i] = static_cast<std::int32_t>(random.between(-8000000, 8000000));
  }
  for (std::int64_t i = 0; i < all; ++i) {
    top[i] = random.real(30.0f);
    sum[i] = 1.0f + std::fabs(random.real(100.0f));
    largest[i] = std::fabs(random.real(0.1f));
    const bool unseen = i % kRows == 1 || (i % kRows == 2 && i / kRows % 2 == 0);
    if (unseen && !is_timed_case()) top[i] = -kInf, sum[i] = 0.0f, largest[i] = 0.0f;
    if (i == 3 && !is_timed_case()) sum[i] = NAN, largest[i] = 0.0f;
  }
  for (std::int32_t i = 0; i < kRows; ++i) factor[i] = i == 4 ? 0.0f : std::fabs(random.real(1.0f));
  Floats expected(static_cast<std::size_t>(out.size()), 5.0f);
  out.fill(5.0f);
  for (std::int64_t m = 0; m < kRows; ++m) {
    float highest = -kInf, den = 0.0f;
    Floats num(static_cast<std::size_t>(d), 0.0f);
    for (std::int64_t b = 0; b < blocks; ++b) {
      if (sum[b * kRows + m] != 0.0f) raise(highest, top[b * kRows + m]);
    }
    for (std::int64_t b = 0; b < blocks; ++b) {
      const std::int64_t row = b * kRows + m;
      if (sum[row] == 0.0f) continue;
      const float weight = exp2_scaled_of(top[row] - highest, factor[m]);
      den = std::fma(sum[row], weight, den);
      for (std::int64_t e = 0; e < d; ++e) {
        const std::int32_t total = sums[row * d_pad + e] + (has_shift ? shift[b * d_pad + e] : 0);
        num[e] = std::fma(static_cast<float>(total), largest[row] / 255.0f * weight, num[e]);
      }
    }
    for (std::int64_t e = 0; e < d; ++e) {
      expected[static_cast<std::size_t>(m * stride + e)] = den == 0.0f ? 0.0f : num[e] / den;
    }
  }
  const AttentionSumArgs args = {kRows,
                                 d,
                                 blocks,
                                 sums.data(),
                                 d_pad,
                                 kRows,
                                 has_shift ? shift.data() : nullptr,
                                 top.data(),
                                 sum.data(),
                                 largest.data(),
                                 factor.data(),
                                 out.data(),
                                 stride};
  kernel.run(args);
  const std::string what =
      std::string(kernel.name) + " blocks=" + std::to_string(blocks) + " d=" + std::to_string(d);
  check_same(out.data(), expected.data(), out.size(), what);
  time_case(what, [&] { kernel.run(args); });
}

}  // namespace

void test_attention_codes() {
  Random random(20261129);
  for_each_row<AttentionCodesArgs>(
      [&](const KernelRow<AttentionCodesArgs>& kernel) {
        for (const ActivationEncoding form : kForms) {
          for (const std::int64_t d : {1, 15, 16, 17, 64, 100}) {
            for (const std::int64_t rows : {1, 9, 16, 40}) {
              check_codes(kernel, form, rows, d, rows == 9 ? Edge::kFront : Edge::kEnd, random);
            }
          }
        }
      },
      [&](const KernelRow<AttentionCodesArgs>& kernel) {
        check_codes(kernel, ActivationEncoding::kU8, 64, 32, Edge::kEnd, random);
      });
}

void test_attention_weights() {
  Random random(20261130);
  for_each_row<AttentionWeightsArgs>(
      [&](const KernelRow<AttentionWeightsArgs>& kernel) {
        for (const ActivationEncoding form : kForms) {
          for (const std::int64_t n : {1, 15, 16, 17, 64, 130, 512}) {
            for (int options = 0; options < 4; ++options) {
              check_weights(kernel, {n, form, (options & 1) != 0, (options & 2) != 0}, random);
            }
          }
        }
      },
      [&](const KernelRow<AttentionWeightsArgs>& kernel) {
        check_weights(kernel, {128, ActivationEncoding::kU8, false, false}, random);
      });
}

void test_attention_sum() {
  Random random(20261131);
  for_each_row<AttentionSumArgs>(
      [&](const KernelRow<AttentionSumArgs>& kernel) {
        for (const std::int32_t blocks : {0, 1, 2, 5}) {
          for (const std::int32_t d : {1, 16, 17, 40}) {
            check_sum(kernel, blocks, d, (d + blocks) % 2 == 0, random);
          }
        }
      },
      [&](const KernelRow<AttentionSumArgs>& kernel) { check_sum(kernel, 1, 32, false, random); });
}

}  // namespace octavo_test
