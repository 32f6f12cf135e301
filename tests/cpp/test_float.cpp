// SPDX-License-Identifier: Apache-2.0
// The float32 families: activation, softmax, layer_norm, attention. Bit for bit.
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

constexpr float kInf = std::numeric_limits<float>::infinity();
using Floats = std::vector<float>;

// One row of a strided matrix.
Floats row_of(const float* data, std::int64_t stride, std::int64_t m, std::int64_t n) {
  return Floats(data + m * stride, data + m * stride + n);
}

void check_activation(const KernelRow<ActivationArgs>& kernel, Activation activation,
                      std::int64_t n, Edge edge, Random& random) {
  constexpr float kSpecial[] = {0.0f, -0.0f, NAN, kInf, -kInf, 88.5f, -88.5f, 1.0e-40f, -1.0e38f};
  Guarded<float> x(n, edge), out(n, edge);
  Floats expected;
  for (std::int64_t i = 0; i < n; ++i) {
    x[i] =
        i % 3 == 0 && !is_timed_case() ? kSpecial[i / 3 % 9] : random.real(i % 2 ? 6.0f : 100.0f);
    expected.push_back(activation_of(activation, x[i]));
  }
  kernel.run({x.data(), out.data(), n, activation});
  const std::string what =
      std::string(kernel.name) + " n=" + std::to_string(n) + " " + name_of(activation);
  check_same(out.data(), expected.data(), n, what);
  time_case(what, [&] { kernel.run({x.data(), out.data(), n, activation}); });
  kernel.run({x.data(), x.data(), n, activation});
  check_same(x.data(), expected.data(), n, what + " in place");
}

void check_softmax(const KernelRow<SoftmaxArgs>& kernel, std::int64_t n, Edge edge,
                   Random& random) {
  constexpr std::int64_t kRows = 7;
  const std::int64_t stride = edge == Edge::kEnd ? n : n + 4;
  Guarded<float> x((kRows - 1) * stride + n, edge), out((kRows - 1) * stride + n, edge);
  out.fill(5.0f);
  for (std::int64_t i = 0; i < x.size(); ++i) x[i] = random.real(9.0f);
  x[stride + n / 2] = NAN;
  x[2 * stride + n - 1] = kInf;
  x[3 * stride] = -kInf;
  for (std::int64_t i = 0; i < n; ++i) x[4 * stride + i] = -kInf;
  for (std::int64_t i = 0; i < n; ++i) x[5 * stride + i] = random.real(200.0f);
  Floats expected(static_cast<std::size_t>(out.size()), 5.0f);
  for (std::int64_t m = 0; m < kRows; ++m) {
    const Floats row = softmax_of(row_of(x.data(), stride, m, n));
    std::copy(row.begin(), row.end(), expected.begin() + m * stride);
  }
  kernel.run({x.data(), stride, out.data(), stride, kRows, n});
  const std::string what = std::string(kernel.name) + " n=" + std::to_string(n);
  check_same(out.data(), expected.data(), out.size(), what);
  time_case(what, [&] { kernel.run({x.data(), stride, out.data(), stride, kRows, n}); });
}

struct NormCase {
  std::int64_t m, n;
  bool residual, weight, bias;
  Edge edge;
};

void check_layer_norm(const KernelRow<LayerNormArgs>& kernel, const NormCase& c, Random& random) {
  const std::int64_t stride = c.edge == Edge::kEnd ? c.n : c.n + 2;
  const std::int64_t size = (c.m - 1) * stride + c.n;
  Guarded<float> x(size, c.edge), residual(size, c.edge), out(size, c.edge);
  Guarded<float> weight(c.n, c.edge), bias(c.n, c.edge);
  constexpr float kEps = 1.0e-5f;
  for (std::int64_t i = 0; i < size; ++i) x[i] = random.real(3.0f), residual[i] = random.real(3.0f);
  for (std::int64_t i = 0; i < c.n; ++i) weight[i] = random.real(2.0f), bias[i] = random.real(2.0f);
  if (c.m > 2 && !is_timed_case()) x[2 * stride] = c.bias ? NAN : kInf;
  Floats expected(static_cast<std::size_t>(size), 5.0f);
  out.fill(5.0f);
  for (std::int64_t m = 0; m < c.m; ++m) {
    Floats v = row_of(x.data(), stride, m, c.n), centred;
    for (std::int64_t i = 0; c.residual && i < c.n; ++i) v[i] = v[i] + residual[m * stride + i];
    const float mean = row_sum(v) / static_cast<float>(c.n);
    for (const float value : v) centred.push_back(value - mean);
    const float variance = row_sum_of_squares(centred) / static_cast<float>(c.n);
    const float factor = 1.0f / std::sqrt(variance + kEps);
    for (std::int64_t i = 0; i < c.n; ++i) {
      float y = centred[i] * factor;
      if (c.weight && c.bias) {
        y = std::fma(y, weight[i], bias[i]);
      } else if (c.weight || c.bias) {
        y = c.weight ? y * weight[i] : y + bias[i];
      }
      expected[static_cast<std::size_t>(m * stride + i)] = y;
    }
  }
  const LayerNormArgs args = {x.data(),
                              stride,
                              c.residual ? residual.data() : nullptr,
                              stride,
                              c.weight ? weight.data() : nullptr,
                              c.bias ? bias.data() : nullptr,
                              kEps,
                              out.data(),
                              stride,
                              c.m,
                              c.n};
  kernel.run(args);
  const std::string what =
      std::string(kernel.name) + " m=" + std::to_string(c.m) + " n=" + std::to_string(c.n);
  check_same(out.data(), expected.data(), size, what);
  time_case(what, [&] { kernel.run(args); });
}

// Panels of 16 items (keys for k, columns for v), zero-padded; item i's element e is at(i, e).
template <class At>
AlignedBuffer panels_of(std::int64_t items, std::int64_t length, const At& at) {
  const std::int64_t count = round_up(items, 16) * length;
  AlignedBuffer buffer(static_cast<std::size_t>(count) * sizeof(float));
  std::memset(buffer.as<float>(), 0, buffer.size());
  for (std::int64_t i = 0; i < items; ++i) {
    for (std::int64_t e = 0; e < length; ++e) {
      buffer.as<float>()[i / 16 * 16 * length + e * 16 + i % 16] = at(i, e);
    }
  }
  return buffer;
}

void check_attention(const KernelRow<AttentionArgs>& kernel, std::int64_t m, std::int64_t n,
                     std::int64_t d, bool has_bias, Edge edge, Random& random) {
  const std::int64_t stride = edge == Edge::kEnd ? d : d + 7;
  Guarded<float> q((m - 1) * stride + d, edge), out((m - 1) * stride + d, edge);
  Floats k(static_cast<std::size_t>(n * d)), v(k.size());
  for (std::int64_t i = 0; i < q.size(); ++i) q[i] = random.real(2.0f);
  for (float& value : k) value = random.real(2.0f);
  for (float& value : v) value = random.real(2.0f);
  if (m > 2 && !is_timed_case()) q[2 * stride] = NAN;
  const float scale = 1.0f / std::sqrt(static_cast<float>(d));
  const std::int64_t n_pad = round_up(n, 16);
  const AlignedBuffer bias(static_cast<std::size_t>(m * n_pad) * sizeof(float));
  for (std::int64_t i = 0; i < m * n_pad; ++i) bias.as<float>()[i] = random.real(2.0f);
  Floats expected(static_cast<std::size_t>(out.size()), 5.0f);
  out.fill(5.0f);
  for (std::int64_t i = 0; i < m; ++i) {
    Floats scores;
    for (std::int64_t j = 0; j < n; ++j) {
      float sum = 0.0f;
      for (std::int64_t e = 0; e < d; ++e) sum = std::fma(q[i * stride + e], k[j * d + e], sum);
      scores.push_back(has_bias ? std::fma(sum, scale, bias.as<float>()[i * n_pad + j])
                                : sum * scale);
    }
    const Floats p = softmax_of(scores);
    for (std::int64_t e = 0; e < d; ++e) {
      float sum = 0.0f;
      for (std::int64_t j = 0; j < n; ++j) sum = std::fma(p[j], v[j * d + e], sum);
      expected[static_cast<std::size_t>(i * stride + e)] = sum;
    }
  }
  const AlignedBuffer k_panels = panels_of(n, d, [&](auto j, auto e) { return k[j * d + e]; });
  const AlignedBuffer v_panels = panels_of(d, n, [&](auto e, auto j) { return v[j * d + e]; });
  const AlignedBuffer scores(static_cast<std::size_t>(kAttentionRows * n_pad) * sizeof(float));
  const AttentionArgs args = {q.data(),
                              stride,
                              m,
                              k_panels.as<float>(),
                              v_panels.as<float>(),
                              n,
                              d,
                              scale,
                              has_bias ? bias.as<float>() : nullptr,
                              scores.as<float>(),
                              out.data(),
                              stride};
  kernel.run(args);
  const std::string what = std::string(kernel.name) + " m=" + std::to_string(m) +
                           " n=" + std::to_string(n) + " d=" + std::to_string(d) +
                           (has_bias ? " with bias" : "");
  check_same(out.data(), expected.data(), out.size(), what);
  time_case(what, [&] { kernel.run(args); });
}

}  // namespace

void test_activation() {
  Random random(20240306);
  for_each_row<ActivationArgs>(
      [&](const KernelRow<ActivationArgs>& kernel) {
        for (int activation = 0; activation <= static_cast<int>(Activation::kTanh); ++activation) {
          for (const std::int64_t n : {0, 1, 15, 16, 17, 33, 1000}) {
            check_activation(kernel, static_cast<Activation>(activation), n, Edge::kEnd, random);
            check_activation(kernel, static_cast<Activation>(activation), n, Edge::kFront, random);
          }
        }
      },
      [&](const KernelRow<ActivationArgs>& kernel) {
        for (int i = 0; i <= static_cast<int>(Activation::kTanh); ++i) {
          check_activation(kernel, static_cast<Activation>(i), 4096, Edge::kEnd, random);
        }
      });
}

void test_softmax() {
  Random random(20240307);
  for_each_row<SoftmaxArgs>(
      [&](const KernelRow<SoftmaxArgs>& kernel) {
        for (const std::int64_t n : {1, 15, 16, 17, 31, 32, 33, 47, 48, 100, 200}) {
          check_softmax(kernel, n, Edge::kEnd, random);
          check_softmax(kernel, n, Edge::kFront, random);
        }
      },
      [&](const KernelRow<SoftmaxArgs>& kernel) {
        check_softmax(kernel, 512, Edge::kEnd, random);
      });
}

void test_layer_norm() {
  Random random(20240308);
  for_each_row<LayerNormArgs>(
      [&](const KernelRow<LayerNormArgs>& kernel) {
        for (const std::int64_t n : {1, 15, 16, 17, 33, 100}) {
          for (const std::int64_t m : {1, 3, 4, 5, 11}) {
            for (int options = 0; options < 8; ++options) {
              const Edge edge = (options + m) % 2 == 0 ? Edge::kEnd : Edge::kFront;
              check_layer_norm(
                  kernel, {m, n, (options & 1) != 0, (options & 2) != 0, (options & 4) != 0, edge},
                  random);
            }
          }
        }
      },
      [&](const KernelRow<LayerNormArgs>& kernel) {
        check_layer_norm(kernel, {16, 768, true, true, true, Edge::kEnd}, random);
      });
}

void test_attention() {
  Random random(20240309);
  for_each_row<AttentionArgs>(
      [&](const KernelRow<AttentionArgs>& kernel) {
        for (const std::int64_t m : {1, 2, 5, 6, 7, 15}) {
          for (const std::int64_t n : {1, 15, 16, 17, 50}) {
            for (const std::int64_t d : {1, 15, 16, 17, 32, 64}) {
              check_attention(kernel, m, n, d, d % 2 == 0,
                              (m + n) % 2 == 0 ? Edge::kEnd : Edge::kFront, random);
            }
          }
        }
      },
      [&](const KernelRow<AttentionArgs>& kernel) {
        check_attention(kernel, 12, 128, 64, false, Edge::kEnd, random);
      });
}

}  // namespace octavo_test
