// SPDX-License-Identifier: Apache-2.0
// The families of int8 attention: attention_codes, attention_block, attention_sum. Bit for bit.
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
using Groups = std::vector<std::int32_t>;

// Puts code i of a row or column where its group of sixteen side by side begins.
void put_code(std::int32_t* groups, std::int64_t i, std::int64_t group_codes, int code) {
  const std::int64_t bits = 32 / group_codes;
  const std::uint32_t kept = static_cast<std::uint32_t>(code) & ((1ull << bits) - 1);
  auto* group = reinterpret_cast<std::uint32_t*>(groups + i / group_codes * 16);
  *group |= kept << (i % group_codes * bits);
}

// A code of a row: in panels of groups, or of whole rows.
template <class Args>
void put_row_code(const KernelRow<Args>& kernel, std::int32_t* panel, bool rows, std::int64_t row,
                  std::int64_t d, std::int64_t e, int code) {
  const std::int64_t codes = kernel.group_codes;
  if (rows) {
    reinterpret_cast<std::int8_t*>(panel)[row % 16 * round_up(d, 16) + e] =
        static_cast<std::int8_t>(code);
  } else {
    put_code(panel + row % 16, e, codes, code);
  }
}

// What queries are larger by.
template <class Args>
int query_offset(const KernelRow<Args>& kernel) {
  return kernel.group_codes == 4 && !kernel.key_rows ? 128 : 0;
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

void check_codes(const KernelRow<AttentionCodesArgs>& kernel, AttentionOperand operand,
                 std::int64_t rows, std::int64_t d, Edge edge, Random& random) {
  constexpr std::int32_t kFilling = 0x5a5a5a5a;
  const bool values = operand == AttentionOperand::kValues, listed = rows == 9;
  const bool queries = operand == AttentionOperand::kQueries;
  const bool keys = operand == AttentionOperand::kKeys;
  const bool has_starts = keys && query_offset(kernel) != 0;
  const std::int64_t codes = kernel.group_codes, m_pad = round_up(rows, 16),
                     d_pad = round_up(d, 16);
  const std::int64_t stride = edge == Edge::kEnd ? d : d + 3;
  const std::int64_t panel = (values ? m_pad : d_pad) / codes * 16 + (edge == Edge::kEnd ? 0 : 16);
  const std::int64_t size =
      ((values ? d_pad : m_pad) / 16 - 1) * panel + (values ? m_pad : d_pad) / codes * 16;
  Guarded<float> x((rows - 1) * stride + d, edge), scale(m_pad, edge);
  Guarded<std::int32_t> groups(size, edge), start(m_pad, edge);
  Guarded<std::int64_t> list(rows, edge);
  x.fill(1.0f);
  groups.fill(kFilling);
  start.fill(kFilling);
  Floats scales(static_cast<std::size_t>(m_pad), 0.0f);
  Groups expected(static_cast<std::size_t>(size), kFilling);
  Groups starts(static_cast<std::size_t>(m_pad), has_starts ? 0 : kFilling);
  for (std::int64_t at = 0; at < size; ++at) {
    if (at % panel < (values ? m_pad : d_pad) / codes * 16) expected[at] = 0;
  }
  const auto expect = [&](std::int64_t m, std::int64_t e, int code) {
    const int stored = code + (queries ? query_offset(kernel) : 0);
    if (values) {
      put_code(expected.data() + e / 16 * panel + e % 16, m, codes, stored);
    } else {
      put_row_code(kernel, expected.data() + m / 16 * panel, keys && kernel.key_rows, m, d, e,
                   stored);
    }
    if (has_starts) starts[m] -= 128 * code;
  };
  for (std::int64_t m = 0; m < m_pad; ++m) {
    if (m < rows) list[m] = (listed ? rows - 1 - m : m) * stride;
    float largest = 0.0f;
    bool finite = m < rows;
    for (std::int64_t e = 0; m < rows && e < d; ++e) {
      const float value = head_value(static_cast<int>(m), e, d, random);
      x[list[m] + e] = value;
      largest = std::max(largest, std::fabs(value));
      finite = finite && std::isfinite(value);
    }
    const float unit = std::max(largest / 127.0f, FLT_MIN);
    if (m < rows) scales[m] = !finite ? NAN : largest == 0.0f ? 0.0f : unit;
    for (std::int64_t e = 0; e < d_pad; ++e) {
      const bool there = finite && e < d;
      expect(m, e, there ? static_cast<int>(std::nearbyint(x[list[m] + e] * (1.0f / unit))) : 0);
    }
  }
  AttentionCodesArgs args;
  args.x = x.data();
  args.x_stride = stride;
  args.row_list = listed ? list.data() : nullptr;
  args.m = static_cast<std::int32_t>(rows);
  args.d = static_cast<std::int32_t>(d);
  args.operand = operand;
  args.groups = groups.data();
  args.panel_stride = panel;
  args.scale = scale.data();
  args.start = start.data();
  kernel.run(args);
  const std::string what =
      std::string(kernel.name) + " rows=" + std::to_string(rows) + " d=" + std::to_string(d);
  check_same(scale.data(), scales.data(), m_pad, what + " scales");
  check_same(groups.data(), expected.data(), size, what + " codes");
  check_same(start.data(), starts.data(), m_pad, what + " starts");
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

struct BlockCase {
  std::int64_t queries, keys, d;
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

// Rows of codes as panels: of sixteen rows, groups along d, or of sixteen columns, groups of rows.
std::vector<int> random_codes(std::int64_t count, Random& random) {
  std::vector<int> codes(static_cast<std::size_t>(count));
  for (int& code : codes) code = static_cast<int>(random.between(-127, 127));
  return codes;
}
void put_rows(const KernelRow<AttentionBlockArgs>& kernel, Guarded<std::int32_t>& out,
              const std::vector<int>& codes, std::int64_t d, bool keys) {
  const std::int64_t panel = round_up(d, 16) / kernel.group_codes * 16;
  out.fill(0);
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const std::int64_t row = static_cast<std::int64_t>(i) / d, e = static_cast<std::int64_t>(i) % d;
    put_row_code(kernel, out.data() + row / 16 * panel, keys && kernel.key_rows, row, d, e,
                 codes[i] + (keys ? 0 : query_offset(kernel)));
  }
}
void put_columns(Guarded<std::int32_t>& out, const std::vector<int>& codes, std::int64_t d,
                 std::int64_t group_codes) {
  const std::int64_t rows = static_cast<std::int64_t>(codes.size()) / d;
  const std::int64_t panel = round_up(rows, 16) / group_codes * 16;
  out.fill(0);
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const std::int64_t row = static_cast<std::int64_t>(i) / d, e = static_cast<std::int64_t>(i) % d;
    put_code(out.data() + e / 16 * panel + e % 16, row, group_codes, codes[i]);
  }
}

void check_block(const KernelRow<AttentionBlockArgs>& kernel, const BlockCase& c, Random& random) {
  const std::int64_t m = c.queries, n = c.keys, d = c.d, codes = kernel.group_codes;
  const std::int64_t m_pad = round_up(m, 16), n_pad = round_up(n, 16), d_pad = round_up(d, 16);
  const auto q = random_codes(m * d, random), k = random_codes(n * d, random);
  const auto v = random_codes(n * d, random);
  Guarded<std::int32_t> queries(m_pad * d_pad / codes), keys(n_pad * d_pad / codes);
  Guarded<std::int32_t> values(n_pad * d_pad / codes), start(n_pad), first(m_pad), last(m_pad);
  Guarded<std::int32_t> sums(m_pad * d_pad);
  Guarded<float> key_scale(n_pad), value_scale(n_pad), factor(m_pad), bias(m_pad * n);
  Guarded<float> work(kAttentionBlockWork), top(m_pad), sum(m_pad), largest(m_pad);
  put_rows(kernel, queries, q, d, false);
  put_rows(kernel, keys, k, d, true);
  put_columns(values, v, d, codes);
  for (std::int64_t j = 0; j < n_pad; ++j) {
    int total = 0;
    for (std::int64_t e = 0; j < n && e < d; ++e) total += k[j * d + e];
    start[j] = -query_offset(kernel) * total;
    key_scale[j] = std::fabs(random.real(0.01f));
    value_scale[j] = j % 5 == 3 ? 0.0f : std::fabs(random.real(0.01f));
  }
  const bool plain = is_timed_case();
  if (!plain) key_scale[n / 2] = c.ranges ? NAN : 1.0e-3f;
  if (n > 20 && c.has_bias) value_scale[n - 1] = 1.0e-37f;
  for (std::int64_t i = 0; i < m_pad; ++i) {
    const bool cut = c.ranges && i % 3 != 0 && i / 16 != 1;
    const std::int64_t low = c.ranges && i / 16 == 1 ? n / 3 : 0;
    first[i] = static_cast<std::int32_t>(cut ? random.between(0, n) : low);
    last[i] = static_cast<std::int32_t>(cut ? random.between(first[i], n) : n);
    factor[i] = i == 7 && !plain ? 0.0f : std::fabs(random.real(0.1f));
    if (i == 5 && !plain) factor[i] = NAN;
  }
  for (std::int64_t i = 0; i < bias.size(); ++i) bias[i] = random.real(5.0f);
  AttentionBlockArgs args;
  args.m = static_cast<std::int32_t>(m);
  args.n = static_cast<std::int32_t>(n);
  args.d = static_cast<std::int32_t>(d);
  args.queries = queries.data();
  args.query_stride = args.key_stride = d_pad / codes * 16;
  args.keys = keys.data();
  args.values = values.data();
  args.value_stride = n_pad / codes * 16;
  args.key_start = start.data();
  args.key_scale = key_scale.data();
  args.value_scale = value_scale.data();
  args.bias = c.has_bias ? bias.data() : nullptr;
  args.bias_stride = 16 * n;
  args.first = c.ranges ? first.data() : nullptr;
  args.last = c.ranges ? last.data() : nullptr;
  args.factor = factor.data();
  args.work = work.data();
  args.top = top.data();
  args.sum = sum.data();
  args.largest = largest.data();
  args.sums = sums.data();
  kernel.run(args);
  const std::string what = std::string(kernel.name) + " " + std::to_string(m) + "x" +
                           std::to_string(n) + "x" + std::to_string(d) +
                           (c.has_bias ? " with bias" : "") + (c.ranges ? " with ranges" : "");
  for (std::int64_t i = 0; i < m; ++i) {
    Floats z;
    for (std::int64_t j = 0; j < n; ++j) {
      int score = 0;
      for (std::int64_t e = 0; e < d; ++e) score += q[i * d + e] * k[j * d + e];
      const float scaled = static_cast<float>(score) * key_scale[j];
      const float added = bias[i / 16 * 16 * n + 16 * j + i % 16] * 1.44269502f;
      z.push_back(c.has_bias ? std::fma(scaled, factor[i], added) : scaled);
    }
    const RowWeights row = weights_of(z, value_scale.data(), c.ranges ? first[i] : 0,
                                      c.ranges ? last[i] : n, c.has_bias ? 1.0f : factor[i]);
    const std::string which = what + " query " + std::to_string(i);
    check_same(&top[i], &row.top, 1, which + " top");
    check_same(&sum[i], &row.sum, 1, which + " sum");
    check_same(&largest[i], &row.largest, 1, which + " largest");
    Groups wanted(static_cast<std::size_t>(d), 0);
    for (std::int64_t j = 0; j < n; ++j) {
      for (std::int64_t e = 0; e < d; ++e) wanted[e] += row.codes[j] * v[j * d + e];
    }
    check_same(&sums[i * d_pad], wanted.data(), d, which + " sums");
  }
  time_case(what, [&] { kernel.run(args); });
}

void check_sum(const KernelRow<AttentionSumArgs>& kernel, std::int32_t blocks, std::int32_t d,
               Random& random) {
  constexpr std::int32_t kRows = 5;
  const std::int64_t d_pad = round_up(d, 16), all = blocks * kRows, stride = d + 2;
  Guarded<std::int32_t> sums(all * d_pad);
  Guarded<float> top(all), sum(all), largest(all), factor(kRows), out((kRows - 1) * stride + d);
  for (std::int64_t i = 0; i < sums.size(); ++i) {
    sums[i] = static_cast<std::int32_t>(random.between(-8000000, 8000000));
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
        const auto total = static_cast<float>(sums[row * d_pad + e]);
        num[e] = std::fma(total, largest[row] / 255.0f * weight, num[e]);
      }
    }
    for (std::int64_t e = 0; e < d; ++e) {
      expected[static_cast<std::size_t>(m * stride + e)] = den == 0.0f ? 0.0f : num[e] / den;
    }
  }
  const AttentionSumArgs args = {kRows,      d,          blocks,     sums.data(),    d_pad,
                                 kRows,      top.data(), sum.data(), largest.data(), factor.data(),
                                 out.data(), stride};
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
        for (const auto operand :
             {AttentionOperand::kQueries, AttentionOperand::kKeys, AttentionOperand::kValues}) {
          for (const std::int64_t d : {1, 15, 16, 17, 64, 100}) {
            for (const std::int64_t rows : {1, 9, 16, 40, 90}) {
              check_codes(kernel, operand, rows, d, rows == 9 ? Edge::kFront : Edge::kEnd, random);
            }
          }
        }
      },
      [&](const KernelRow<AttentionCodesArgs>& kernel) {
        check_codes(kernel, AttentionOperand::kKeys, 64, 32, Edge::kEnd, random);
      });
}

void test_attention_block() {
  Random random(20261130);
  for_each_row<AttentionBlockArgs>(
      [&](const KernelRow<AttentionBlockArgs>& kernel) {
        for (const std::int64_t n : {1, 15, 16, 17, 64, 131, 512}) {
          for (int options = 0; options < 4; ++options) {
            const bool has_bias = (options & 1) != 0, ranges = (options & 2) != 0;
            check_block(kernel, {n == 64 ? 75 : 11, n, 32, has_bias, ranges}, random);
            check_block(kernel, {n == 17 ? 29 : 20, n, n % 2 ? 17 : 100, has_bias, ranges}, random);
          }
        }
      },
      [&](const KernelRow<AttentionBlockArgs>& kernel) {
        check_block(kernel, {25, 25, 32, false, false}, random);
        check_block(kernel, {64, 128, 32, false, false}, random);
      });
}

void test_attention_sum() {
  Random random(20261131);
  for_each_row<AttentionSumArgs>(
      [&](const KernelRow<AttentionSumArgs>& kernel) {
        for (const std::int32_t blocks : {0, 1, 2, 5}) {
          for (const std::int32_t d : {1, 16, 17, 40}) {
            check_sum(kernel, blocks, d, random);
          }
        }
      },
      [&](const KernelRow<AttentionSumArgs>& kernel) { check_sum(kernel, 1, 32, random); });
}

}  // namespace octavo_test
