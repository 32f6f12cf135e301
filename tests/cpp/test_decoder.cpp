// SPDX-License-Identifier: Apache-2.0
// The families of decoders: rms_norm, rotary, gated. Bit for bit.
#include <cmath>
#include <limits>

#include "bench.h"
#include "guarded.h"
#include "memory/aligned_buffer.h"
#include "reference.h"
#include "tests.h"

namespace octavo_test {
namespace {

using namespace octavo;

using Floats = std::vector<float>;

// Rows of a matrix that begin so far apart, with random values.
struct Matrix {
  std::int64_t m, n, stride;
  Guarded<float> values;

  Matrix(std::int64_t m_, std::int64_t n_, Edge edge)
      : m(m_),
        n(n_),
        stride(edge == Edge::kEnd ? n_ : n_ + 2),
        values((m_ - 1) * stride + n_, edge) {
    values.fill(5.0f);
  }
  Matrix(std::int64_t m_, std::int64_t n_, Edge edge, Random& random) : Matrix(m_, n_, edge) {
    for (std::int64_t i = 0; i < size(); ++i) values[i] = random.real(3.0f);
  }
  std::int64_t size() const { return (m - 1) * stride + n; }
  float& at(std::int64_t row, std::int64_t column) { return values[row * stride + column]; }
};

std::string named(const char* kernel, std::int64_t m, std::int64_t n) {
  return std::string(kernel) + " m=" + std::to_string(m) + " n=" + std::to_string(n);
}

void check_rms_norm(const KernelRow<RmsNormArgs>& kernel, std::int64_t m, std::int64_t n,
                    bool has_weight, bool has_addend, Edge edge, Random& random) {
  Matrix x(m, n, edge, random), addend(m, n, edge, random), out(m, n, edge), expected(m, n, edge);
  Matrix weight(1, n, edge, random);
  constexpr float kEps = 1.0e-6f;
  if (m > 2 && !is_timed_case()) {
    x.at(2, 0) = has_weight ? NAN : std::numeric_limits<float>::infinity();
  }
  for (std::int64_t i = 0; i < m; ++i) {
    const Floats row(&x.at(i, 0), &x.at(i, 0) + n);
    const float mean = row_sum_of_squares(row) / static_cast<float>(n);
    const float factor = 1.0f / std::sqrt(mean + kEps);
    for (std::int64_t j = 0; j < n; ++j) {
      const float v = row[static_cast<std::size_t>(j)] * factor;
      const float w = has_weight ? weight.at(0, j) : 1.0f;
      expected.at(i, j) = has_addend ? std::fma(v, w, addend.at(i, j)) : v * w;
    }
  }
  RmsNormArgs args = {x.values.data(),
                      x.stride,
                      has_weight ? weight.values.data() : nullptr,
                      kEps,
                      has_addend ? addend.values.data() : nullptr,
                      addend.stride,
                      out.values.data(),
                      out.stride,
                      m,
                      n};
  kernel.run(args);
  const std::string what = named(kernel.name, m, n);
  check_same(out.values.data(), expected.values.data(), out.size(), what);
  time_case(what, [&] { kernel.run(args); });
  args.out = x.values.data();
  kernel.run(args);
  for (std::int64_t i = 0; i < m; ++i) {
    check_same(&x.at(i, 0), &expected.at(i, 0), n, what + " in place");
  }
}

void check_rotary(const KernelRow<RotaryArgs>& kernel, std::int64_t m, std::int64_t heads,
                  std::int64_t d, std::int64_t pairs, Edge edge, Random& random) {
  constexpr std::int64_t kRows = 9;
  Matrix x(m, heads * d, edge, random), out(m, heads * d, edge), expected(m, heads * d, edge);
  Guarded<float> cosine(kRows * pairs, edge), sine(kRows * pairs, edge);
  for (std::int64_t i = 0; i < kRows * pairs; ++i) {
    cosine[i] = random.real(1.0f), sine[i] = random.real(1.0f);
  }
  std::vector<std::int64_t> positions;
  for (std::int64_t i = 0; i < m; ++i) positions.push_back((5 * i + 3) % kRows);
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < heads * d; ++j) {
      const std::int64_t place = j % d;
      if (place >= 2 * pairs) {
        expected.at(i, j) = x.at(i, j);
        continue;
      }
      const std::int64_t angle = positions[static_cast<std::size_t>(i)] * pairs + place % pairs;
      const bool is_first = place < pairs;
      const float other = x.at(i, is_first ? j + pairs : j - pairs) * sine[angle];
      expected.at(i, j) = std::fma(x.at(i, j), cosine[angle], is_first ? -other : other);
    }
  }
  RotaryArgs args = {x.values.data(),
                     x.stride,
                     cosine.data(),
                     sine.data(),
                     positions.data(),
                     out.values.data(),
                     x.stride,
                     m,
                     heads,
                     d,
                     pairs};
  kernel.run(args);
  const std::string what = named(kernel.name, m, d) + " heads=" + std::to_string(heads);
  check_same(out.values.data(), expected.values.data(), out.size(), what);
  time_case(what, [&] { kernel.run(args); });
  args.out = x.values.data();
  kernel.run(args);
  for (std::int64_t i = 0; i < m; ++i) {
    check_same(&x.at(i, 0), &expected.at(i, 0), heads * d, what + " in place");
  }
}

void check_gated(const KernelRow<GatedArgs>& kernel, Activation activation, std::int64_t m,
                 std::int64_t n, Edge edge, Random& random) {
  Matrix gate(m, n, edge, random), x(m, n, edge, random), out(m, n, edge), expected(m, n, edge);
  if (!is_timed_case()) gate.at(0, 0) = NAN;
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      expected.at(i, j) = activation_of(activation, gate.at(i, j)) * x.at(i, j);
    }
  }
  GatedArgs args = {gate.values.data(),
                    gate.stride,
                    x.values.data(),
                    x.stride,
                    out.values.data(),
                    out.stride,
                    m,
                    n,
                    activation};
  kernel.run(args);
  const std::string what = named(kernel.name, m, n) + " " + name_of(activation);
  check_same(out.values.data(), expected.values.data(), out.size(), what);
  time_case(what, [&] { kernel.run(args); });
  args.out = gate.values.data();
  kernel.run(args);
  for (std::int64_t i = 0; i < m; ++i) {
    check_same(&gate.at(i, 0), &expected.at(i, 0), n, what + " in place");
  }
}

Edge edge_of(std::int64_t i) { return i % 2 == 0 ? Edge::kEnd : Edge::kFront; }

}  // namespace

void test_rms_norm() {
  Random random(20240401);
  for_each_row<RmsNormArgs>(
      [&](const KernelRow<RmsNormArgs>& kernel) {
        for (const std::int64_t n : {1, 15, 16, 17, 33, 100}) {
          for (const std::int64_t m : {1, 3, 4, 5, 11}) {
            for (int options = 0; options < 4; ++options) {
              check_rms_norm(kernel, m, n, (options & 1) != 0, (options & 2) != 0,
                             edge_of(options + m), random);
            }
          }
        }
      },
      [&](const KernelRow<RmsNormArgs>& kernel) {
        check_rms_norm(kernel, 16, 576, true, false, Edge::kEnd, random);
      });
}

void test_rotary() {
  Random random(20240402);
  for_each_row<RotaryArgs>(
      [&](const KernelRow<RotaryArgs>& kernel) {
        for (const std::int64_t pairs : {1, 8, 16, 17, 32, 40}) {
          for (const std::int64_t rest : {0, 1, 24}) {
            for (const std::int64_t heads : {1, 3}) {
              check_rotary(kernel, 5, heads, 2 * pairs + rest, pairs, edge_of(pairs + heads),
                           random);
            }
          }
        }
      },
      [&](const KernelRow<RotaryArgs>& kernel) {
        check_rotary(kernel, 16, 9, 64, 32, Edge::kEnd, random);
      });
}

void test_gated() {
  Random random(20240403);
  for_each_row<GatedArgs>(
      [&](const KernelRow<GatedArgs>& kernel) {
        for (const Activation activation :
             {Activation::kNone, Activation::kRelu, Activation::kGelu, Activation::kGeluTanh,
              Activation::kSilu, Activation::kTanh}) {
          for (const std::int64_t n : {1, 15, 16, 17, 50}) {
            check_gated(kernel, activation, 3, n, edge_of(n), random);
          }
        }
      },
      [&](const KernelRow<GatedArgs>& kernel) {
        check_gated(kernel, Activation::kSilu, 16, 1536, Edge::kEnd, random);
      });
}

}  // namespace octavo_test
