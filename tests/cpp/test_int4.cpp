// SPDX-License-Identifier: Apache-2.0
// 4-bit weights with scales in groups: the packing, every kernel row on guarded memory, the layer.
#include <cmath>
#include <stdexcept>

#include "bench.h"
#include "guarded.h"
#include "ops/linear.h"
#include "tests.h"
#include "threads/pool.h"
#include "tiers.h"
#include "weights/int4.h"

namespace octavo_test {
namespace {

using namespace octavo;

struct Problem {
  Problem(std::int64_t m, std::int64_t n, std::int64_t k, std::int64_t group, bool extreme,
          Random& random)
      : m(m), n(n), k(k), group(group), groups((k + group - 1) / group) {
    for (std::int64_t i = 0; i < n * k; ++i) {
      codes.push_back(static_cast<std::int8_t>(extreme ? -8 : random.between(-8, 7)));
    }
    for (std::int64_t i = 0; i < n * groups; ++i) scales.push_back(random.real(0.1f));
    for (std::int64_t i = 0; i < m * k; ++i) {
      x.push_back(extreme ? (i % 2 ? -1.0f : 1.0f) : random.real(2.0f));
    }
  }

  std::string name() const {
    return "int4 m=" + std::to_string(m) + " n=" + std::to_string(n) + " k=" + std::to_string(k) +
           " group=" + std::to_string(group);
  }

  std::int64_t m, n, k, group, groups;
  std::vector<std::int8_t> codes;
  std::vector<float> scales, x;
};

void check_packing(const Problem& p) {
  const Int4Weight weight(p.codes.data(), p.scales.data(), p.n, p.k, p.group);
  std::vector<std::int8_t> codes(p.codes.size(), 99);
  weight.unpack(codes.data());
  check_same(codes.data(), p.codes.data(), p.n * p.k, p.name() + " codes");
  std::vector<float> scales(p.scales.size());
  weight.unpack_scales(scales.data());
  check_same(scales.data(), p.scales.data(), p.n * p.groups, p.name() + " scales");
  const std::int64_t panels = (p.n + 15) / 16, padded = p.groups * p.group;
  check(static_cast<std::int64_t>(weight.nbytes()) == panels * (8 * padded + 64 * p.groups),
        p.name() + " bytes");
}

// By the definition, one value after the other.
std::vector<float> reference(const Problem& p, const std::vector<std::int8_t>& a,
                             const std::vector<float>& a_scale) {
  std::vector<float> out;
  for (std::int64_t m = 0; m < p.m; ++m) {
    for (std::int64_t n = 0; n < p.n; ++n) {
      float y = 0;
      for (std::int64_t g = 0; g < p.groups; ++g) {
        std::int32_t sum = 0;
        for (std::int64_t k = g * p.group; k < std::min(p.k, (g + 1) * p.group); ++k) {
          sum += a[m * p.k + k] * p.codes[n * p.k + k];
        }
        const float scale = p.scales[n * p.groups + g] * a_scale[g * p.m + m];
        y = std::fmaf(static_cast<float>(sum), scale, y);
      }
      out.push_back(y);
    }
  }
  return out;
}

// Each group of a row, symmetric: a scale and codes.
void quantize_groups(const Problem& p, std::vector<std::int8_t>& codes, std::vector<float>& scale) {
  codes.resize(p.x.size());
  scale.resize(static_cast<std::size_t>(p.m * p.groups));
  for (std::int64_t m = 0; m < p.m; ++m) {
    for (std::int64_t g = 0; g < p.groups; ++g) {
      const std::int64_t begin = m * p.k + g * p.group;
      const std::int64_t end = std::min(m * p.k + p.k, begin + p.group);
      float most = 0;
      for (std::int64_t i = begin; i < end; ++i) most = std::max(most, std::fabs(p.x[i]));
      const float s = most == 0 ? 1.0f : most / 127.0f, inverse = 1.0f / s;
      for (std::int64_t i = begin; i < end; ++i) {
        const float q = std::nearbyint(p.x[i] * inverse);
        codes[i] = static_cast<std::int8_t>(std::min(std::max(q, -127.0f), 127.0f));
      }
      scale[g * p.m + m] = s;
    }
  }
}

void check_kernel(const GemmS4Row& row, const Problem& p, Edge edge) {
  const Int4Weight weight(p.codes.data(), p.scales.data(), p.n, p.k, p.group);
  std::vector<std::int8_t> codes;
  std::vector<float> scale;
  quantize_groups(p, codes, scale);
  const std::int64_t k_pad = padded_k(p.k), width = octavo::round_up(p.n, 16);
  Guarded<std::uint8_t> a(p.m * k_pad, edge);
  a.fill(0);
  for (std::int64_t i = 0; i < p.m * p.k; ++i) {
    a[i / p.k * k_pad + i % p.k] = static_cast<std::uint8_t>(codes[i]);
  }
  Guarded<float> c(p.m * width, edge);
  Schedule schedule = weight.schedule(p.m, bit(row.isa) | bit(Isa::Scalar));
  CodeBlock block = {};
  block.codes = a.data();
  block.stride = k_pad;
  block.row_scale = scale.data();
  block.scale_stride = p.m;
  Guarded<std::uint8_t> base(schedule.tile_bytes, edge), scratch(schedule.scratch_bytes, edge);
  block.tile = base.data();
  block.scratch = scratch.data();
  weight.prepare(schedule, block, p.m, 0, p.m);
  const auto run = [&] {
    weight.multiply(schedule, block, p.m, 0, weight.panels(),
                    reinterpret_cast<std::int32_t*>(c.data()), width);
  };
  run();
  const std::vector<float> expected = reference(p, codes, scale);
  for (std::int64_t m = 0; m < p.m; ++m) {
    check_same(c.data() + m * width, expected.data() + m * p.n, p.n, p.name());
  }
  time_case(row.name + p.name().substr(4), run);
}

void check_layer(const Problem& p) {
  std::vector<std::int8_t> codes;
  std::vector<float> scale;
  quantize_groups(p, codes, scale);
  std::vector<float> expected = reference(p, codes, scale);
  std::vector<float> bias;
  for (std::int64_t n = 0; n < p.n; ++n) bias.push_back(0.25f * static_cast<float>(n % 7));
  for (std::int64_t i = 0; i < p.m * p.n; ++i) {
    expected[i] = std::max(expected[i] + bias[i % p.n], 0.0f) + p.x[i % p.x.size()];
  }
  LinearOptions options;
  options.activation = Activation::kRelu;
  const Linear layer(
      std::make_unique<Int4Weight>(p.codes.data(), p.scales.data(), p.n, p.k, p.group), "dense",
      nullptr, bias.data(), options);
  std::vector<float> residual(static_cast<std::size_t>(p.m * p.n)), out(residual.size());
  for (std::size_t i = 0; i < residual.size(); ++i) residual[i] = p.x[i % p.x.size()];
  Added added;
  added.after = {residual.data(), p.n};
  layer.run(p.m, {p.x.data(), p.k}, added, {out.data(), p.n});
  check_same(out.data(), expected.data(), p.m * p.n, p.name() + " layer");
}

// What only other weights can do.
void check_refusals() {
  Random random(3);
  const Problem p(1, 16, 64, 32, false, random);
  const auto refused = [](const auto& call, const std::string& what) {
    try {
      call();
    } catch (const std::invalid_argument&) {
      check(true, what);
      return;
    }
    check(false, what);
  };
  const auto int4 = [&] {
    return std::make_unique<Int4Weight>(p.codes.data(), p.scales.data(), p.n, p.k, p.group);
  };
  LinearOptions fixed;
  fixed.input_scale = 0.1f;
  refused([&] { Linear(int4(), "dense", nullptr, nullptr, fixed); }, "a fixed scale of the input");
  refused(
      [&] {
        Linear(weight_formats().front().pack(p.codes.data(), p.n, p.k), "dense", nullptr, nullptr,
               {});
      },
      "a weight without scales");
  const float scale = 1.0f;
  refused([&] { Linear(int4(), "dense", &scale, nullptr, {}); }, "scales of groups and outputs");
  const Linear layer(int4(), "dense", nullptr, nullptr, {});
  const std::int32_t point = 0;
  std::vector<float> out(16);
  refused([&] { layer.run_codes(1, {p.codes.data(), p.k}, &scale, &point, {}, {out.data(), p.n}); },
          "codes with one scale a row");
}

}  // namespace

void test_int4() {
  check_refusals();
  Random random(20261129);
  for (const std::int64_t group : {32, 64, 128}) {
    for (const std::int64_t n : {0, 1, 15, 16, 17, 50}) {
      for (const std::int64_t k : {0, 1, 7, 8, 31, 32, 33, 128, 200}) {
        check_packing({1, n, k, group, false, random});
      }
    }
  }
  const int threads = get_num_threads();
  for_each_tier([&](const std::string&) {
    for (const std::int64_t group : {32, 64, 128}) {
      for (const std::int64_t m : {1, 5, 70, 300}) {
        set_num_threads(m == 5 ? 1 : 3);
        check_layer({m, 50, 200, group, false, random});
        check_layer({m, 33, 1, group, false, random});
        // Rows that are filled in four parts, columns that are split over threads.
        check_layer({m, 50, 264, group, false, random});
      }
    }
  });
  set_num_threads(threads);
}

void test_gemm_s4() {
  Random random(20261130);
  for_each_row<GemmS4Args>(
      [&](const GemmS4Row& row) {
        for (const std::int64_t group : {32, 64, 128}) {
          for (const std::int64_t m : {1, 2, 9}) {
            for (const std::int64_t n : {1, 15, 16, 17, 50}) {
              for (const std::int64_t k : {0, 1, 31, 32, 33, 64, 65, 127, 128, 129, 300}) {
                const Edge edge = (m + n + k) % 2 == 0 ? Edge::kEnd : Edge::kFront;
                check_kernel(row, {m, n, k, group, false, random}, edge);
              }
            }
          }
          check_kernel(row, {3, 20, 300, group, true, random}, Edge::kEnd);
        }
      },
      [&](const GemmS4Row& row) {
        for (const std::int64_t m : {1, 8}) {
          check_kernel(row, {m, 192, 768, 64, false, random}, Edge::kEnd);
        }
      });
}

}  // namespace octavo_test
