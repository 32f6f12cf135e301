// SPDX-License-Identifier: Apache-2.0
// Weights with scales of groups: the packing, every kernel row on guarded memory, the layer.
#include <cmath>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "bench.h"
#include "guarded.h"
#include "ops/linear.h"
#include "reference.h"
#include "tests.h"
#include "threads/pool.h"
#include "tiers.h"
#include "weights/grouped.h"

namespace octavo_test {
namespace {

using namespace octavo;

// Numbers of groups, (n, groups): what they are, and how they are held.
struct Numbers {
  Numbers(GroupNumbers kind, std::int64_t n, std::int64_t groups, float most, Random& random)
      : kind(kind) {
    const std::int64_t units_of_row = (groups + 7) / 8;
    for (std::int64_t i = 0; i < n * units_of_row; ++i) {
      units.push_back(to_half(random.real(most / 255)).bits);
    }
    for (std::int64_t i = 0; i < n * groups; ++i) {
      floats.push_back(random.real(most));
      halves.push_back(to_half(floats.back()).bits);
      steps.push_back(static_cast<std::uint8_t>(random.between(0, 255)));
      const std::int64_t unit = i / groups * units_of_row + i % groups / 8;
      if (kind == GroupNumbers::kFloat16) floats.back() = from_half(Half{halves.back()});
      if (kind == GroupNumbers::kSteps) {
        floats.back() = from_half(Half{units[static_cast<std::size_t>(unit)]}) *
                        static_cast<float>(steps.back());
      }
    }
  }

  GroupValues values() const {
    if (kind == GroupNumbers::kFloat32) return {floats.data(), nullptr};
    if (kind == GroupNumbers::kFloat16) return {halves.data(), nullptr};
    return {steps.data(), units.data()};
  }

  GroupNumbers kind;
  std::vector<float> floats;
  std::vector<std::uint16_t> halves, units;
  std::vector<std::uint8_t> steps;
};

struct Problem {
  Problem(std::int64_t m, std::int64_t n, std::int64_t k, const GroupedForm& form, bool extreme,
          Random& random)
      : m(m),
        n(n),
        k(k),
        group(form.group),
        groups((k + group - 1) / group),
        form(form),
        scale(form.scale, n, groups, 0.1f, random),
        minimum(form.minimum, n, groups, 1.0f, random) {
    const int low = -form.offset(), high = low + (1 << form.bits) - 1;
    for (std::int64_t i = 0; i < n * k; ++i) {
      const auto farthest = low < 0 ? low : high;
      codes.push_back(static_cast<std::uint8_t>(extreme ? farthest : random.between(low, high)));
    }
    for (std::int64_t i = 0; i < m * k; ++i) {
      x.push_back(extreme ? (i % 2 ? -1.0f : 1.0f) : random.real(2.0f));
    }
    for (std::int64_t i = 0; i < k; ++i) order.push_back(static_cast<std::int32_t>(i));
    for (std::int64_t i = 1; i < k && form.ordered; ++i) {
      std::swap(order[static_cast<std::size_t>(i)],
                order[static_cast<std::size_t>(random.between(0, i))]);
    }
  }

  std::unique_ptr<GroupedWeight> weight() const {
    return std::make_unique<GroupedWeight>(form, codes.data(), scale.values(), minimum.values(),
                                           order.data(), n, k);
  }
  bool has_minimum() const { return form.minimum != GroupNumbers::kNone; }
  int code(std::int64_t i) const {
    const std::uint8_t c = codes[static_cast<std::size_t>(i)];
    return has_minimum() ? c : static_cast<std::int8_t>(c);
  }
  // As column i of codes meets it.
  float input(std::int64_t row, std::int64_t i) const { return x[row * k + order[i]]; }

  std::string name() const {
    std::string made = "bits scale minimum m n k group =";
    const auto of_form = {form.bits, (std::int32_t)form.scale, (std::int32_t)form.minimum};
    for (const std::int64_t i : of_form) made += " " + std::to_string(i);
    for (const std::int64_t i : {m, n, k, group}) made += " " + std::to_string(i);
    return made;
  }

  std::int64_t m, n, k, group, groups;
  GroupedForm form;
  Numbers scale, minimum;
  std::vector<std::uint8_t> codes;
  std::vector<std::int32_t> order;
  std::vector<float> x;
};

// Each number of bits with all kinds of numbers, and an order.
std::vector<GroupedForm> forms(std::int32_t group) {
  using G = GroupNumbers;
  std::vector<GroupedForm> all;
  for (const std::int32_t bits : {4, 5, 8}) {
    all.push_back({bits, group, G::kFloat32, G::kNone, 0});
    all.push_back({bits, group, G::kFloat16, G::kFloat16, bits == 4});
    all.push_back({bits, group, G::kSteps, G::kSteps, 0});
    all.push_back({bits, group, G::kFloat16, G::kNone, bits == 5});
    all.push_back({bits, group, G::kFloat32, G::kFloat32, 0});
  }
  return all;
}

void check_packing(const Problem& p) {
  const auto weight = p.weight();
  std::vector<std::int8_t> codes(p.codes.size(), 99);
  weight->unpack(codes.data());
  check_same(reinterpret_cast<const std::uint8_t*>(codes.data()), p.codes.data(), p.n * p.k,
             p.name() + " codes");
  std::vector<std::int64_t> ids;
  for (std::int64_t row = p.n - 1; row >= 0; --row) ids.push_back(row);
  std::vector<float> values(p.codes.size()), expected(values.size());
  weight->rows(ids.data(), p.n, values.data());
  for (std::int64_t i = 0; i < p.n * p.k; ++i) {
    const std::int64_t row = i / p.k, at = row * p.groups + i % p.k / p.group;
    float value = static_cast<float>(p.code(i)) * p.scale.floats[at];
    if (p.has_minimum()) value += p.minimum.floats[at];
    expected[(p.n - 1 - row) * p.k + p.order[i % p.k]] = value;
  }
  check_same(values.data(), expected.data(), p.n * p.k, p.name() + " rows");
}

// By the definition, one value after the other.
std::vector<float> reference(const Problem& p, const std::vector<std::int8_t>& a,
                             const std::vector<float>& a_scale) {
  std::vector<float> out;
  for (std::int64_t m = 0; m < p.m; ++m) {
    for (std::int64_t n = 0; n < p.n; ++n) {
      std::vector<float> sums, scales;
      float y = 0;
      for (std::int64_t g = 0; g < p.groups; ++g) {
        std::int32_t sum = 0, codes = 0;
        for (std::int64_t k = g * p.group; k < std::min(p.k, (g + 1) * p.group); ++k) {
          sum += a[m * p.k + k] * p.code(n * p.k + k);
          codes += a[m * p.k + k];
        }
        const float scale = a_scale[g * p.m + m];
        sums.push_back(static_cast<float>(sum));
        scales.push_back(p.scale.floats[n * p.groups + g] * scale);
        if (p.has_minimum()) {
          y = std::fmaf(static_cast<float>(codes) * scale, p.minimum.floats[n * p.groups + g], y);
        }
      }
      for (std::size_t g = 0; g < sums.size(); ++g) y = std::fmaf(sums[g], scales[g], y);
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
      const std::int64_t begin = g * p.group, end = std::min(p.k, begin + p.group);
      float most = 0;
      for (std::int64_t i = begin; i < end; ++i) most = std::max(most, std::fabs(p.input(m, i)));
      const float s = most == 0 ? 1.0f : most / 127.0f, inverse = 1.0f / s;
      for (std::int64_t i = begin; i < end; ++i) {
        const float q = std::nearbyint(p.input(m, i) * inverse);
        codes[m * p.k + i] = static_cast<std::int8_t>(std::min(std::max(q, -127.0f), 127.0f));
      }
      scale[g * p.m + m] = s;
    }
  }
}

void check_kernel(const GemmGroupsRow& row, const Problem& p, Edge edge) {
  const auto made = p.weight();
  const GroupedWeight& weight = *made;
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
  time_case(std::string(row.name) + " " + p.name(), run);
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
  const Linear layer(p.weight(), "dense", nullptr, bias.data(), options);
  std::vector<float> residual(static_cast<std::size_t>(p.m * p.n)), out(residual.size());
  for (std::size_t i = 0; i < residual.size(); ++i) residual[i] = p.x[i % p.x.size()];
  Added added;
  added.after = {residual.data(), p.n};
  layer.run(p.m, {p.x.data(), p.k}, added, {out.data(), p.n});
  check_same(out.data(), expected.data(), p.m * p.n, p.name() + " layer");
}

// Neighbours that read the same rows, whose codes are made once where their forms agree so far.
void check_company(std::int64_t m, Random& random) {
  const std::vector<GroupedForm> all = forms(32);
  std::vector<std::unique_ptr<Linear>> layers;
  std::vector<std::vector<float>> outs;
  std::vector<LinearCall> calls;
  const Problem first(m, 20, 200, all[0], false, random);
  const Rows<const float> x = {first.x.data(), 200};
  for (const std::size_t form : {0, 0, 10, 2}) {
    const Problem p(m, 20 + static_cast<std::int64_t>(form), 200, all[form], false, random);
    layers.push_back(
        std::make_unique<Linear>(p.weight(), "dense", nullptr, nullptr, LinearOptions{}));
    check(layers[0]->reads_like(*layers.back()), "layers of groups of the same size read alike");
    outs.emplace_back(static_cast<std::size_t>(m * p.n));
    calls.push_back({layers.back().get(), {}, {outs.back().data(), p.n}});
  }
  run_linears(m, x, calls.data(), static_cast<std::int64_t>(calls.size()));
  for (std::size_t i = 0; i < layers.size(); ++i) {
    std::vector<float> alone(outs[i].size());
    layers[i]->run(m, x, {}, {alone.data(), layers[i]->n()});
    check_same(outs[i].data(), alone.data(), m * layers[i]->n(), "layers in company");
  }
  const Problem turned(m, 20, 200, all[1], false, random);
  const Linear ordered(turned.weight(), "dense", nullptr, nullptr, {});
  check(!layers[0]->reads_like(ordered), "an order of inputs reads other rows");
}

void check_refusals() {
  Random random(3);
  const Problem p(1, 16, 64, forms(32)[0], false, random);
  const auto* signed_codes = reinterpret_cast<const std::int8_t*>(p.codes.data());
  const auto refused = [](const auto& call, const std::string& what) {
    bool threw = false;
    try {
      call();
    } catch (const std::invalid_argument&) {
      threw = true;
    }
    check(threw, what);
  };
  LinearOptions fixed;
  fixed.input_scale = 0.1f;
  refused([&] { Linear(p.weight(), "dense", nullptr, nullptr, fixed); }, "a fixed input scale");
  const auto dense = [&] { return weight_formats().front().pack(signed_codes, p.n, p.k); };
  refused([&] { Linear(dense(), "dense", nullptr, nullptr, {}); }, "a weight without scales");
  const float scale = 1.0f;
  refused([&] { Linear(p.weight(), "dense", &scale, nullptr, {}); }, "scales of both");
  const Linear layer(p.weight(), "dense", nullptr, nullptr, {});
  const std::int32_t point = 0;
  float out[16];
  const Rows<const std::int8_t> codes = {signed_codes, p.k};
  refused([&] { layer.run_codes(1, codes, &scale, &point, {}, {out, p.n}); }, "given codes");
}

}  // namespace

void test_grouped() {
  check_refusals();
  Random random(20261129);
  for (const std::int32_t group : {32, 64, 128}) {
    for (const GroupedForm& form : forms(group)) {
      for (const std::int64_t k : {0, 1, 7, 8, 33, 128, 300}) {
        for (const std::int64_t n : {0, 1, 50}) check_packing({1, n, k, form, false, random});
      }
    }
  }
  const int threads = get_num_threads();
  for_each_tier([&](const std::string&) {
    for (const std::int64_t m : {1, 40}) check_company(m, random);
    for (const std::int32_t group : {32, 64, 128}) {
      for (const GroupedForm& form : forms(group)) {
        for (const std::int64_t m : {1, 5, 70}) {
          set_num_threads(m == 5 ? 1 : 3);
          check_layer({m, 50, 200, form, false, random});
          check_layer({m, 33, 1, form, false, random});
        }
      }
      // Rows that are filled in four parts, columns that are split over threads.
      check_layer({300, 50, 264, forms(group)[1], false, random});
    }
  });
  set_num_threads(threads);
}

void test_gemm_groups() {
  Random random(20261130);
  for_each_row<GemmGroupsArgs>(
      [&](const GemmGroupsRow& row) {
        for (const std::int32_t group : {32, 64, 128}) {
          for (const GroupedForm& form : forms(group)) {
            for (const std::int64_t m : {1, 2, 9}) {
              for (const std::int64_t n : {1, 16, 17, 50, 70}) {
                for (const std::int64_t k : {0, 1, 31, 32, 33, 65, 128, 300, 1100}) {
                  const Edge edge = (m + n + k) % 2 == 0 ? Edge::kEnd : Edge::kFront;
                  check_kernel(row, {m, n, k, form, false, random}, edge);
                }
              }
            }
            check_kernel(row, {3, 20, 300, form, true, random}, Edge::kEnd);
          }
        }
      },
      [&](const GemmGroupsRow& row) {
        for (const GroupedForm& form : forms(64)) {
          check_kernel(row, {1, 192, 768, form, false, random}, Edge::kEnd);
          check_kernel(row, {8, 192, 768, form, false, random}, Edge::kEnd);
        }
      });
}

void check_group_minima(const KernelRow<GroupMinimaArgs>& kernel, GroupNumbers kind, int m,
                        int panels, std::int64_t groups, Random& random) {
  const std::int64_t n = 16 * panels, units = (groups + 7) / 8;
  const std::int64_t sizes[] = {0, 4, 2, 1}, bytes = sizes[static_cast<int>(kind)];
  const Numbers numbers(kind, n, groups, 1.0f, random);
  Guarded<float> sums(m * groups, Edge::kEnd), c(m * n, Edge::kEnd);
  Guarded<std::uint16_t> unit(n * units, Edge::kEnd);
  Guarded<std::uint8_t> values(n * groups * bytes, Edge::kEnd);
  std::vector<float> expected(static_cast<std::size_t>(m * n));
  for (std::int64_t i = 0; i < m * groups; ++i) sums[i] = random.real(100.0f);
  for (std::int64_t i = 0; i < n * groups; ++i) {
    const std::int64_t row = i / groups, g = i % groups, panel = row / 16 * 16;
    std::memcpy(values.data() + (panel * groups + 16 * g + row % 16) * bytes,
                static_cast<const std::uint8_t*>(numbers.values().values) + i * bytes,
                static_cast<std::size_t>(bytes));
    unit[panel * units + 16 * (g / 8) + row % 16] = numbers.units[row * units + g / 8];
    for (int r = 0; r < m; ++r) {
      float& y = expected[r * n + row];
      y = std::fmaf(sums[r * groups + g], numbers.floats[i], y);
    }
  }
  const PanelNumbers held = {kind, values.data(), 16 * groups * bytes, unit.data(), 16 * units};
  const auto run = [&] { kernel.run({sums.data(), groups, held, c.data(), n, m, panels, groups}); };
  run();
  check_same(c.data(), expected.data(), m * n, kernel.name);
  time_case(std::string(kernel.name) + " kind=" + std::to_string((int)kind), run);
}

void test_group_minima() {
  Random random(20261201);
  using Row = KernelRow<GroupMinimaArgs>;
  const auto each_kind = [&](const Row& kernel, int m, int panels, std::int64_t groups) {
    for (const auto kind : {GroupNumbers::kFloat32, GroupNumbers::kFloat16, GroupNumbers::kSteps}) {
      check_group_minima(kernel, kind, m, panels, groups, random);
    }
  };
  for_each_row<GroupMinimaArgs>(
      [&](const Row& kernel) {
        for (const int m : {1, 9, 13}) {
          for (const std::int64_t groups : {0, 1, 9}) each_kind(kernel, m, 1 + m, groups);
        }
      },
      [&](const Row& kernel) { each_kind(kernel, 1, 8, 128); });
}

}  // namespace octavo_test
