// SPDX-License-Identifier: Apache-2.0
// The slots of a sparse weight, and every kernel row that reads them, against a naive sum on
// guarded memory.
#include <algorithm>
#include <cstring>

#include "bench.h"
#include "guarded.h"
#include "sparse_weight.h"
#include "tests.h"
#include "weights/windowed.h"

namespace octavo_test {
namespace {

using namespace octavo;

using Narrow = WindowedWeight<SlotIndex::kNarrow>;
using Wide = WindowedWeight<SlotIndex::kWide>;

const std::vector<std::int64_t> kLengths = {0, 1, 15, 63, 64, 65, 200};

// The steps behind a guard page: kernels may read no further.
struct GuardedSlots {
  GuardedSlots(const WindowedPanels& all, std::int64_t count, Edge edge)
      : steps(count * step_bytes(all.kind), edge), windows(count, edge), whole(all) {
    if (count == 0) return;
    std::memcpy(steps.data(), whole.step, static_cast<std::size_t>(steps.size()));
    std::memcpy(windows.data(), whole.window, static_cast<std::size_t>(2 * windows.size()));
    whole.step = steps.data();
    whole.window = windows.data();
  }

  Guarded<std::uint8_t> steps;
  Guarded<std::uint16_t> windows;
  WindowedPanels whole;
};

template <class Packed>
void check_gather(const GatherS8Row& row, std::int64_t m, const Matrix& w, Pattern pattern,
                  Edge edge, Random& random) {
  const Packed packed(w.codes.data(), w.n, w.k);
  const GuardedSlots slots(packed.stretch(0, packed.panels()), packed.steps(), edge);
  Codes a(m, w.k, row.form, pattern, edge, random);
  const std::int64_t width = round_up(w.n, 16);
  Guarded<std::int32_t> c(m * width, edge);
  const GatherS8Args args = {slots.whole, a.bytes.data(), a.k_pad,
                             c.data(),    width,          static_cast<std::int32_t>(m)};
  row.run(args);
  const std::string what = name_of(row.name, m, w);
  check_sums(c.data(), width, a, row.form, m, w, what);
  time_case(what, [&] { row.run(args); });
}

template <class Packed>
void check_spread(const BroadcastWindowedS8Row& row, std::int64_t m, const Matrix& w,
                  Pattern pattern, Edge edge, Random& random) {
  const Packed packed(w.codes.data(), w.n, w.k);
  const GuardedSlots slots(packed.stretch(0, packed.panels()), packed.steps(), edge);
  Codes a(m, w.k, row.form, pattern, edge, random);
  Guarded<std::uint8_t> tile(32 * a.k_pad, edge);
  tile.fill(0x5a);
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t k = 0; k < a.k_pad; ++k) tile[32 * k + i] = a.bytes.data()[i * a.k_pad + k];
  }
  const std::int64_t width = round_up(w.n, 16);
  Guarded<std::int32_t> c(m * width, edge);
  const BroadcastWindowedS8Args args = {slots.whole, tile.data(), c.data(), width,
                                        static_cast<std::int32_t>(m)};
  row.run(args);
  const std::string what = name_of(row.name, m, w);
  check_sums(c.data(), width, a, row.form, m, w, what);
  time_case(what, [&] { row.run(args); });
}

void check_transpose(const KernelRow<TransposeS8Args>& row, std::int32_t m, std::int32_t column,
                     std::int32_t k, std::int32_t rows, Random& random) {
  Guarded<std::uint8_t> a(m * k), tile(rows * k);
  for (std::int64_t i = 0; i < a.size(); ++i) a[i] = static_cast<std::uint8_t>(random.next());
  tile.fill(0xee);
  const TransposeS8Args args = {a.data(), k, tile.data(), rows, column, m, k};
  row.run(args);
  bool same = true;
  for (std::int32_t i = 0; i < rows; ++i) {
    const bool spare = i < column || i >= column + static_cast<std::int32_t>(round_up(m, 8));
    for (std::int32_t j = 0; j < k; ++j) {
      if (spare) same = same && tile[rows * j + i] == 0xee;
      if (i >= column && i < column + m) {
        same = same && tile[rows * j + i] == a[(i - column) * k + j];
      }
    }
  }
  const std::string what =
      std::string(row.name) + " m=" + std::to_string(m) + " k=" + std::to_string(k);
  check(same, what);
  time_case(what, [&] { row.run(args); });
}

// The promises that kernels rely on, and the way back.
template <class Packed>
void check_slots(const Matrix& w) {
  const Packed packed(w.codes.data(), w.n, w.k);
  const std::string what = name_of("slots", 0, w);
  check_codes(packed, w, what);
  check(packed.steps() == Packed::cost(w.codes.data(), w.n, w.k, 0).units, what + " steps");
  const WindowedPanels all = packed.stretch(0, packed.panels());
  const std::int64_t width = all.kind == SlotIndex::kNarrow ? 16 : 64;
  const std::int64_t k_pad = round_up(std::max<std::int64_t>(w.k, 1), 64);
  for (std::int64_t p = 0; p < packed.panels(); ++p) {
    for (std::uint32_t t = all.first_step[p]; t < all.first_step[p + 1]; ++t) {
      check(all.window[t] + width <= k_pad, what + " window ends within the padded k");
      const bool first = t == all.first_step[p];
      check(first || all.window[t] >= all.window[t - 1], what + " windows ascend");
    }
  }
}

}  // namespace

void test_windowed() {
  Random random(20240303);
  const auto check_both = [](const Matrix& w) {
    check_slots<Narrow>(w);
    check_slots<Wide>(w);
  };
  for_all_packings({0, 1, 7, 16, 64, 65, 300}, random, check_both);
}

void test_gather_s8() {
  for_each_row<GatherS8Args>(
      [&](const KernelRow<GatherS8Args>& row) {
        Random random(20240302);
        for_all_problems({1, 2, 3, 4, 5, 9}, kLengths, random, [&](auto&&... problem) {
          check_gather<Narrow>(row, problem...);
          check_gather<Wide>(row, problem...);
        });
      },
      [&](const KernelRow<GatherS8Args>& row) {
        Random random(7);
        const Matrix w = make_weight(192, 768, Pattern::kRandom, random);
        for (const std::int64_t m : {1, 8})
          check_gather<Narrow>(row, m, w, Pattern::kRandom, Edge::kEnd, random);
      });
}

void test_broadcast_windowed_s8() {
  for_each_row<BroadcastWindowedS8Args>(
      [&](const KernelRow<BroadcastWindowedS8Args>& row) {
        Random random(20240302);
        for_all_problems({1, 4, 17, 31, 32}, kLengths, random, [&](auto&&... problem) {
          check_spread<Narrow>(row, problem...);
          check_spread<Wide>(row, problem...);
        });
      },
      [&](const KernelRow<BroadcastWindowedS8Args>& row) {
        Random random(7);
        const Matrix w = make_weight(192, 768, Pattern::kRandom, random);
        check_spread<Narrow>(row, 32, w, Pattern::kRandom, Edge::kEnd, random);
      });
}

void test_transpose_s8() {
  Random random(20240304);
  using Row = KernelRow<TransposeS8Args>;
  const auto checks = [&](const Row& row) {
    for (const std::int32_t m : {1, 7, 8, 9, 31, 32}) {
      for (const std::int32_t column : {0, 8, 24}) {
        if (column + m > 32) continue;
        const auto k = static_cast<std::int32_t>(64 * random.between(1, 3));
        check_transpose(row, m, column, k, random.between(0, 1) ? 32 : 64, random);
      }
    }
  };
  for_each_row<TransposeS8Args>(
      checks, [&](const Row& row) { check_transpose(row, 32, 0, 768, 32, random); });
}

}  // namespace octavo_test
