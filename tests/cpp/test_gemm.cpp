// SPDX-License-Identifier: Apache-2.0
// Every gemm_s8 row against a naive sum, on shapes around its block, on guarded memory.
#include <algorithm>
#include <array>
#include <set>

#include "bench.h"
#include "guarded.h"
#include "tests.h"
#include "weights/dense.h"

namespace octavo_test {
namespace {

using namespace octavo;

// What a and b hold. Alternating ones are neighbours of opposite extremes, from either on; pairs
// bring b to both sides of the bound of GroupOrder, with a at either end.
enum class Kind { kRandom, kConstant, kAlternating, kPairs };
struct Fill {
  Kind kind;
  int a = 0, b = 0;
};
constexpr Fill kRandom = {Kind::kRandom}, kPairs = {Kind::kPairs, -128};

std::vector<Fill> all_fills() {
  std::vector<Fill> fills = {kRandom, kPairs, {Kind::kPairs, 127}};
  for (const int a : {0, 1}) {
    for (const int b : {0, 1}) fills.push_back({Kind::kAlternating, a, b});
  }
  for (const int a : {-128, -127, -1, 0, 127}) {
    for (const int b : {-128, -127, -1, 0, 1, 127}) fills.push_back({Kind::kConstant, a, b});
  }
  return fills;
}

struct Problem {
  std::int64_t m, n, k;
  std::vector<std::int8_t> a;  // (m_rows, k), m_rows = m rounded up to m_align
  std::vector<std::int8_t> b;  // (n, k)
};

// Weights of two neighbouring groups whose reaches add up to 255, or in some groups to 256.
std::int8_t pair_weight(std::int64_t n, std::int64_t k) {
  constexpr int kReaches[] = {127, 126, 100, 55, 1, 1, 50, 50};
  const int reach = kReaches[k % 8] + (k % 8 == 5 && k / 8 % 3 == 2 ? 1 : 0);
  return static_cast<std::int8_t>(n % 2 ? -reach : reach - 1);
}

// The largest magnitude that b, or ~b, can have.
int reach(std::int8_t b) { return std::max<int>(-b, b + 1); }

// The k-th code of a row of a, where `value` is the fill's a, or of b.
std::int8_t code(Random& random, Kind kind, int value, std::int64_t k) {
  if (kind == Kind::kRandom) return static_cast<std::int8_t>(random.between(-128, 127));
  if (kind == Kind::kAlternating) return (k + value) % 2 ? 127 : -128;
  return static_cast<std::int8_t>(value);
}

Problem make_problem(const GemmS8Row& row, std::int64_t m, std::int64_t n, std::int64_t k,
                     Fill fill, Random& random) {
  Problem p{m, n, k, {}, {}};
  p.a.resize(static_cast<std::size_t>(round_up(m, row.m_align) * k));
  p.b.resize(static_cast<std::size_t>(n * k));
  for (std::size_t i = 0; i < p.a.size(); ++i) {
    p.a[i] = code(random, fill.kind, fill.a, static_cast<std::int64_t>(i) % k);
  }
  for (std::int64_t i = 0; i < n * k; ++i) {
    p.b[static_cast<std::size_t>(i)] = fill.kind == Kind::kPairs
                                           ? pair_weight(i / k, i % k)
                                           : code(random, fill.kind, fill.b, i % k);
  }
  return p;
}

// The operand of one run: codes in the row's form, the packed weight copied behind a guard page.
struct Operands {
  Operands(const GemmS8Row& row, const Problem& p, const DenseWeight& packed, Edge edge)
      : k_pad(round_up(p.k, 64)),
        a_stride(row.form == ActivationEncoding::kSignAbs ? 2 * k_pad : k_pad),
        a(round_up(p.m, row.m_align) * a_stride, edge),
        b(packed.code_bytes(), edge),
        orders(packed.order_count() * order_bytes, edge) {
    a.fill(0);
    const std::int64_t rows = round_up(p.m, row.m_align);
    for (std::int64_t m = 0; m < rows; ++m) {
      for (std::int64_t k = 0; k < p.k; ++k) {
        const int value = p.a[static_cast<std::size_t>(m * p.k + k)];
        std::uint8_t* at = a.data() + m * a_stride + k;
        if (row.form == ActivationEncoding::kS8Eights) {
          const std::int64_t string = k / 8 % 8;
          at += (string - m % 8) * a_stride + 8 * (m % 8 - string);
        }
        *at = static_cast<std::uint8_t>(row.form == ActivationEncoding::kU8 ? value + 128 : value);
        if (row.form == ActivationEncoding::kSignAbs) {
          at[0] = value < 0 ? 255 : 0;
          at[k_pad] = static_cast<std::uint8_t>(std::abs(value));
        }
      }
    }
    std::memcpy(b.data(), packed.panel(0), static_cast<std::size_t>(b.size()));
    if (orders.size() == 0) return;  // then there is no pointer to them either
    std::memcpy(orders.data(), packed.orders(0), static_cast<std::size_t>(orders.size()));
  }

  static constexpr std::int64_t order_bytes = sizeof(GroupOrder);
  std::int64_t k_pad, a_stride;
  Guarded<std::uint8_t> a;
  Guarded<std::int8_t> b;
  Guarded<std::uint8_t> orders;
};

std::int32_t expected_sum(const GemmS8Row& row, const Problem& p, std::int64_t m, std::int64_t n,
                          std::int32_t before) {
  std::uint32_t sum = static_cast<std::uint32_t>(before);
  const int shift = row.form == ActivationEncoding::kU8 ? 128 : 0;
  for (std::int64_t k = 0; n < p.n && k < p.k; ++k) {
    const int a = p.a[static_cast<std::size_t>(m * p.k + k)] + shift;
    sum += static_cast<std::uint32_t>(a * p.b[static_cast<std::size_t>(n * p.k + k)]);
  }
  return static_cast<std::int32_t>(sum);
}

struct Way {
  Edge edge;
  std::int64_t k_chunk;  // k is taken in parts of at most this
  bool accumulate;       // the first part adds to c
  bool ordered;          // the kernel is told in which order groups pair
};

void run_row(const GemmS8Row& row, const Problem& p, Operands& operands, const DenseWeight& packed,
             const Way& way, std::int32_t* c, std::int64_t c_stride) {
  GemmS8Args args;
  args.a_stride = operands.a_stride;
  args.a_abs_offset = operands.k_pad;
  args.b_panel_stride = packed.panel_stride();
  args.b_orders_stride = packed.orders_stride();
  // A part of k has orders of its own only where it consists of whole blocks of them.
  const bool ordered = way.ordered && (way.k_chunk % 256 == 0 || way.k_chunk >= p.k);
  args.c = c;
  args.c_stride = c_stride;
  args.m = static_cast<std::int32_t>(p.m);
  args.panels = static_cast<std::int32_t>(packed.panels());
  // None of those are there: kernels may prefetch them, and see a large weight.
  args.panels_behind = way.ordered ? 1 << 20 : 0;
  args.accumulate = way.accumulate;
  std::int64_t k0 = 0;
  do {
    args.a = operands.a.data() + k0;
    args.b = operands.b.data() + k0 * 16;
    const std::uint8_t* order = operands.orders.data() + k0 / 256 * Operands::order_bytes;
    args.b_orders = ordered ? reinterpret_cast<const GroupOrder*>(order) : nullptr;
    args.k_groups =
        static_cast<std::int32_t>(std::min(way.k_chunk / 4, packed.k_groups() - k0 / 4));
    row.run(args);
    args.accumulate = true;
    k0 += way.k_chunk;
  } while (k0 < p.k);
}

void check_problem(const GemmS8Row& row, const Problem& p, const Way& way, Random& random) {
  const DenseWeight packed(reinterpret_cast<const std::uint8_t*>(p.b.data()), p.k, p.n, 1, p.k, 0);
  Operands operands(row, p, packed, way.edge);
  const std::int64_t rows = round_up(p.m, row.m_align), width = packed.panels() * 16;
  const std::int64_t gap = way.edge == Edge::kEnd ? 0 : 16;  // a wider c: what lies between stays
  const std::int64_t stride = width + gap;
  Guarded<std::int32_t> c(rows * stride - gap, way.edge);
  for (std::int64_t i = 0; i < c.size(); ++i) c[i] = static_cast<std::int32_t>(random.next());
  std::vector<std::int32_t> expected(c.data(), c.data() + c.size());
  for (std::int64_t m = 0; m < p.m; ++m) {
    for (std::int64_t n = 0; n < width; ++n) {
      std::int32_t& value = expected[static_cast<std::size_t>(m * stride + n)];
      value = expected_sum(row, p, m, n, way.accumulate ? value : 0);
    }
  }
  run_row(row, p, operands, packed, way, c.data(), stride);
  const std::string what = std::string(row.name) + " m=" + std::to_string(p.m) +
                           " n=" + std::to_string(p.n) + " k=" + std::to_string(p.k);
  for (std::int64_t m = 0; m < p.m; ++m) {
    const std::int64_t end = m + 1 < p.m ? stride : width;
    check_same(c.data() + m * stride, expected.data() + m * stride, end, what);
  }
  time_case(what, [&] { run_row(row, p, operands, packed, way, c.data(), stride); });
}

constexpr std::int64_t kWhole = 1 << 20;

void check_row(const GemmS8Row& row) {
  Random random(20240301);
  const std::int64_t mr = row.mr, align = row.m_align;
  std::set<std::int64_t> ms = {1,      2,          4,         mr - 1, mr,
                               mr + 1, 2 * mr + 3, align - 1, align,  align + 1};
  ms.erase(0);
  for (const std::int64_t m : ms) {
    for (const std::int64_t n : {1, 15, 16, 17, 33, 64, 85, 112}) {
      for (const std::int64_t k : {0, 1, 3, 4, 5, 63, 64, 65, 131}) {
        const Edge edge = (m + n + k) % 2 == 0 ? Edge::kEnd : Edge::kFront;
        const Problem p = make_problem(row, m, n, k, kRandom, random);
        check_problem(row, p, {edge, kWhole, k % 3 == 1, k % 2 == 0}, random);
      }
    }
    const Problem p = make_problem(row, m, 50, 197, kRandom, random);
    check_problem(row, p, {Edge::kEnd, kWhole, true, false}, random);
    check_problem(row, p, {Edge::kFront, 64, false, true}, random);
    check_problem(row, p, {Edge::kEnd, 128, true, true}, random);
  }
  for (const Fill fill : all_fills()) {
    for (const std::int64_t m : {std::int64_t{1}, mr + 1}) {
      const Problem p = make_problem(row, m, 20, 197, fill, random);
      check_problem(row, p, {Edge::kEnd, kWhole, true, false}, random);
      check_problem(row, p, {Edge::kEnd, kWhole, false, true}, random);
      check_problem(row, p, {Edge::kFront, 64, false, true}, random);
    }
  }
  // Longer than a block of orders, with weights small enough to pair and not.
  for (const Fill fill : {kRandom, kPairs}) {
    const Problem p = make_problem(row, 2 * mr + 3, 20, 530, fill, random);
    check_problem(row, p, {Edge::kEnd, kWhole, true, true}, random);
    check_problem(row, p, {Edge::kFront, 256, false, true}, random);
  }
  // Beyond the exact bound sums wrap; nothing saturates.
  const Problem p = make_problem(row, 1, 16, 140000, {Kind::kConstant, 127, 127}, random);
  check_problem(row, p, {Edge::kEnd, 1024, false, true}, random);
}

// Each order is a permutation of its block's groups; in its pairs no column's reach of k0 and k1,
// nor of k2 and k3, exceeds 255 over both.
void check_orders(const DenseWeight& packed, const std::string& what) {
  for (std::int64_t i = 0; i < packed.order_count(); ++i) {
    const std::int64_t p = i / packed.orders_stride() * 2, first = i % packed.orders_stride() * 64;
    const std::int64_t groups = std::min<std::int64_t>(64, packed.k_groups() - first);
    const GroupOrder& order = packed.orders(0)[i];
    std::vector<std::uint8_t> sorted(order.group, order.group + groups);
    std::sort(sorted.begin(), sorted.end());
    for (std::int64_t g = 0; g < groups; ++g) check(sorted[g] == g, what + " order");
    check(2 * order.pairs <= groups, what + " pairs");
    for (int pair = 0; pair < order.pairs; ++pair) {
      for (std::int64_t q = p; q < std::min(p + 2, packed.panels()); ++q) {
        const std::int8_t* g = packed.panel(q) + (first + order.group[2 * pair]) * 64;
        const std::int8_t* h = packed.panel(q) + (first + order.group[2 * pair + 1]) * 64;
        for (int j = 0; j < 64; j += 2) {
          const int sum = reach(g[j]) + reach(g[j + 1]) + reach(h[j]) + reach(h[j + 1]);
          check(sum <= 255, what + " pair");
        }
      }
    }
  }
}

// Four weights, twice over, in two neighbouring groups: whether these are paired.
void check_bound(const std::array<int, 4>& reaches, bool fits) {
  for (const bool negative : {false, true}) {
    std::vector<std::uint8_t> codes;
    for (const int i : {0, 1, 0, 1, 2, 3, 2, 3}) {
      codes.push_back(static_cast<std::uint8_t>(negative ? -reaches[i] : reaches[i] - 1));
    }
    const DenseWeight packed(codes.data(), 8, 1, 1, 8, 0);
    check(packed.orders(0)->pairs == (fits ? 1 : 0), "groups at the bound of a pair");
  }
}

// The drawn layout, byte by byte, from any strides, and back.
void check_packing(std::int64_t n, std::int64_t k, bool transposed, std::uint8_t flip) {
  Random random(static_cast<std::uint64_t>(7 * n + k));
  Guarded<std::uint8_t> data(n * k);
  for (std::int64_t i = 0; i < data.size(); ++i) {
    // Small ones often enough that some pairs of groups stay below the bound.
    const std::int64_t limit = n < 16 && i % 3 != 0 ? 50 : 127;
    data[i] = static_cast<std::uint8_t>(random.between(-limit - 1, limit)) ^ flip;
  }
  const std::int64_t k_stride = transposed ? n : 1, n_stride = transposed ? 1 : k;
  const DenseWeight packed(data.data(), k, n, k_stride, n_stride, flip);
  std::vector<std::int8_t> codes(static_cast<std::size_t>(n * k));
  std::vector<std::int8_t> unpacked(codes.size());
  const std::int64_t whole_groups = round_up(packed.k_groups(), 16);  // what tile loads reach
  const std::int64_t last_panel = packed.panels() - 1;
  const std::int64_t size = n == 0 ? 0 : last_panel * packed.panel_stride() + whole_groups * 64;
  std::vector<std::int8_t> bytes(static_cast<std::size_t>(size));
  std::vector<std::int32_t> sums(static_cast<std::size_t>(n));
  for (std::int64_t j = 0; j < n; ++j) {
    for (std::int64_t i = 0; i < k; ++i) {
      const auto value = static_cast<std::int8_t>(data[i * k_stride + j * n_stride] ^ flip);
      codes[static_cast<std::size_t>(j * k + i)] = value;
      const std::int64_t at = j / 16 * packed.panel_stride() + i / 4 * 64 + j % 16 * 4 + i % 4;
      bytes[static_cast<std::size_t>(at)] = value;
      sums[static_cast<std::size_t>(j)] += value;
    }
  }
  const std::string what = "pack n=" + std::to_string(n) + " k=" + std::to_string(k);
  packed.unpack(unpacked.data());
  check_same(unpacked.data(), codes.data(), n * k, what + " unpacked");
  check(packed.code_bytes() == size, what + " bytes");
  check_same(packed.panel(0), bytes.data(), size, what);
  check_same(packed.col_sum(), sums.data(), n, what + " column sums");
  check_orders(packed, what);
}

}  // namespace

void test_packed_b() {
  check_bound({64, 64, 64, 63}, true);
  check_bound({64, 64, 64, 64}, false);
  check_bound({127, 1, 126, 1}, true);
  check_bound({128, 126, 1, 1}, false);
  for (const std::int64_t n : {0, 1, 15, 16, 17, 50}) {
    for (const std::int64_t k : {0, 1, 3, 4, 5, 8, 64, 131, 515}) {
      for (const bool transposed : {false, true}) {
        check_packing(n, k, transposed, 0);
        check_packing(n, k, transposed, 0x80);
      }
    }
  }
}

void test_gemm_s8() {
  for_each_row<GemmS8Args>(check_row, [](const GemmS8Row& row) {
    Random random(20240302);
    for (const std::int64_t m : {1, 8, 32}) {
      const Problem p = make_problem(row, m, 192, 768, kRandom, random);
      check_problem(row, p, {Edge::kEnd, kWhole, false, true}, random);
    }
  });
}

}  // namespace octavo_test
