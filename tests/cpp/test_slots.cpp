// SPDX-License-Identifier: Apache-2.0
// The slots of a sparse weight, and every kernel row that reads them, against a naive sum on
// guarded memory.
#include <algorithm>
#include <cstring>

#include "check.h"
#include "dispatch/registry.h"
#include "guarded.h"
#include "layout/packed_slots.h"
#include "tests.h"

namespace octavo_test {
namespace {

using namespace octavo;

enum class Pattern { kRandom, kTwoOfFour, kDense, kEmpty, kOneColumn, kLastCode, kExtremes };
constexpr Pattern kPatterns[] = {Pattern::kRandom,  Pattern::kTwoOfFour, Pattern::kDense,
                                 Pattern::kEmpty,   Pattern::kOneColumn, Pattern::kLastCode,
                                 Pattern::kExtremes};
constexpr SlotIndex kKinds[] = {SlotIndex::kNarrow, SlotIndex::kWide};

struct Weight {
  std::int64_t n, k;
  std::vector<std::int8_t> codes;  // (n, k)
};

std::int8_t non_zero(Random& random) {
  const auto value = static_cast<std::int8_t>(random.between(-127, 126));
  return static_cast<std::int8_t>(value < 0 ? value : value + 1);
}

Weight make_weight(std::int64_t n, std::int64_t k, Pattern pattern, Random& random) {
  Weight w{n, k, std::vector<std::int8_t>(static_cast<std::size_t>(n * k))};
  for (std::int64_t i = 0; i < n * k; ++i) {
    bool kept = false;
    switch (pattern) {
      case Pattern::kRandom: kept = random.between(0, 9) == 0; break;
      case Pattern::kTwoOfFour: kept = i % k % 4 == i / k % 3 || i % k % 4 == 3; break;
      case Pattern::kDense: kept = true; break;
      case Pattern::kEmpty: break;
      case Pattern::kOneColumn: kept = i / k == n / 2; break;
      case Pattern::kLastCode: kept = i % k == k - 1; break;
      case Pattern::kExtremes: kept = random.between(0, 1) == 0; break;
    }
    if (!kept) continue;
    w.codes[static_cast<std::size_t>(i)] = pattern == Pattern::kExtremes
                                               ? static_cast<std::int8_t>(i % 3 ? -127 : 127)
                                               : non_zero(random);
  }
  return w;
}

// Rows of codes as bytes of a form, zero-padded to 64.
struct Codes {
  Codes(std::int64_t m, std::int64_t k, AForm form, Pattern pattern, Edge edge, Random& random)
      : k_pad(round_up(std::max<std::int64_t>(k, 1), 64)), bytes(m * k_pad, edge) {
    bytes.fill(0);
    for (std::int64_t i = 0; i < m; ++i) {
      for (std::int64_t j = 0; j < k; ++j) {
        const bool low = pattern == Pattern::kExtremes;
        const std::int64_t code = low ? -128 : random.between(-128, 127);
        bytes[i * k_pad + j] = static_cast<std::uint8_t>(code + (form == AForm::kU8 ? 128 : 0));
      }
    }
  }

  std::int64_t k_pad;
  Guarded<std::uint8_t> bytes;
};

std::int32_t naive_sum(Codes& a, AForm form, std::int64_t m, const Weight& w, std::int64_t n) {
  std::uint32_t sum = 0;
  for (std::int64_t k = 0; n < w.n && k < w.k; ++k) {
    const std::uint8_t byte = a.bytes[m * a.k_pad + k];
    const int code = form == AForm::kU8 ? byte : static_cast<std::int8_t>(byte);
    sum += static_cast<std::uint32_t>(code * w.codes[static_cast<std::size_t>(n * w.k + k)]);
  }
  return static_cast<std::int32_t>(sum);
}

// The steps behind a guard page: kernels may read no further.
struct GuardedSlots {
  GuardedSlots(const PackedSlots& packed, Edge edge)
      : steps(packed.steps() * step_bytes(packed.kind()), edge),
        windows(packed.steps(), edge),
        whole(packed.stretch(0, packed.panels())) {
    if (packed.steps() == 0) return;
    std::memcpy(steps.data(), whole.step, static_cast<std::size_t>(steps.size()));
    std::memcpy(windows.data(), whole.window, static_cast<std::size_t>(2 * windows.size()));
    whole.step = steps.data();
    whole.window = windows.data();
  }

  Guarded<std::uint8_t> steps;
  Guarded<std::uint16_t> windows;
  SlotPanels whole;
};

void check_sums(const std::int32_t* c, std::int64_t stride, Codes& a, AForm form, std::int64_t m,
                const Weight& w, const std::string& what) {
  const std::int64_t width = round_up(w.n, 16);
  std::vector<std::int32_t> expected(static_cast<std::size_t>(width));
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t n = 0; n < width; ++n) {
      expected[static_cast<std::size_t>(n)] = naive_sum(a, form, i, w, n);
    }
    check_same(c + i * stride, expected.data(), width, what);
  }
}

void check_gather(const GatherS8Row& row, std::int64_t m, const Weight& w, SlotIndex kind,
                  Pattern pattern, Edge edge, Random& random) {
  const PackedSlots packed(w.codes.data(), w.n, w.k, kind);
  const GuardedSlots slots(packed, edge);
  Codes a(m, w.k, row.form, pattern, edge, random);
  const std::int64_t width = round_up(w.n, 16);
  Guarded<std::int32_t> c(m * width, edge);
  row.run({slots.whole, a.bytes.data(), a.k_pad, c.data(), width, static_cast<std::int32_t>(m)});
  check_sums(c.data(), width, a, row.form, m, w,
             std::string(row.name) + " m=" + std::to_string(m) + " n=" + std::to_string(w.n) +
                 " k=" + std::to_string(w.k));
}

void check_spread(const SpreadS8Row& row, std::int64_t m, const Weight& w, SlotIndex kind,
                  Pattern pattern, Edge edge, Random& random) {
  const PackedSlots packed(w.codes.data(), w.n, w.k, kind);
  const GuardedSlots slots(packed, edge);
  Codes a(m, w.k, row.form, pattern, edge, random);
  Guarded<std::uint8_t> tile(32 * a.k_pad, edge);
  tile.fill(0x5a);
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t k = 0; k < a.k_pad; ++k) tile[32 * k + i] = a.bytes.data()[i * a.k_pad + k];
  }
  const std::int64_t width = round_up(w.n, 16);
  Guarded<std::int32_t> c(m * width, edge);
  row.run({slots.whole, tile.data(), c.data(), width, static_cast<std::int32_t>(m)});
  check_sums(c.data(), width, a, row.form, m, w,
             std::string(row.name) + " m=" + std::to_string(m) + " n=" + std::to_string(w.n) +
                 " k=" + std::to_string(w.k));
}

template <class Check>
void for_all_problems(const std::vector<std::int64_t>& ms, Check check_one) {
  Random random(20240302);
  for (const SlotIndex kind : kKinds) {
    for (const std::int64_t m : ms) {
      for (const std::int64_t n : {1, 15, 16, 17, 50}) {
        for (const std::int64_t k : {0, 1, 15, 63, 64, 65, 200}) {
          const Edge edge = (m + n + k) % 2 == 0 ? Edge::kEnd : Edge::kFront;
          const Weight w = make_weight(n, k, Pattern::kRandom, random);
          check_one(m, w, kind, Pattern::kRandom, edge, random);
        }
      }
      for (const Pattern pattern : kPatterns) {
        const Weight w = make_weight(40, 170, pattern, random);
        check_one(m, w, kind, pattern, Edge::kEnd, random);
      }
    }
  }
}

// The promises that kernels rely on, and the way back.
void check_slots(const Weight& w, SlotIndex kind) {
  const PackedSlots packed(w.codes.data(), w.n, w.k, kind);
  const std::string what = "slots n=" + std::to_string(w.n) + " k=" + std::to_string(w.k);
  std::vector<std::int8_t> unpacked(w.codes.size(), 99);
  packed.unpack(unpacked.data());
  check_same(unpacked.data(), w.codes.data(), w.n * w.k, what + " unpacked");
  std::vector<std::int32_t> sums(static_cast<std::size_t>(w.n));
  std::int64_t non_zeros = 0;
  for (std::int64_t i = 0; i < w.n * w.k; ++i) {
    sums[static_cast<std::size_t>(i / w.k)] += w.codes[static_cast<std::size_t>(i)];
    non_zeros += w.codes[static_cast<std::size_t>(i)] != 0;
  }
  check_same(packed.col_sum(), sums.data(), w.n, what + " column sums");
  check(packed.non_zeros() == non_zeros, what + " non-zeros");
  check(packed.steps() == PackedSlots::count_steps(w.codes.data(), w.n, w.k, kind),
        what + " steps");
  const SlotPanels all = packed.stretch(0, packed.panels());
  const std::int64_t width = kind == SlotIndex::kNarrow ? 16 : 64;
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

void test_slots() {
  Random random(20240303);
  for (const SlotIndex kind : kKinds) {
    for (const std::int64_t n : {0, 1, 16, 17, 50}) {
      for (const std::int64_t k : {0, 1, 7, 16, 64, 65, 300}) {
        for (const Pattern pattern : kPatterns) {
          check_slots(make_weight(n, k, pattern, random), kind);
        }
      }
    }
    check_slots(make_weight(3, PackedSlots::kMaxK, Pattern::kLastCode, random), kind);
  }
}

void test_gather_s8() {
  for (const GatherS8Row& row : gather_s8_rows()) {
    if (!(detected_isas() & bit(row.isa))) continue;
    covered(row.name);
    for_all_problems({1, 2, 3, 4, 5, 9}, [&](auto&&... problem) { check_gather(row, problem...); });
  }
}

void test_spread_s8() {
  for (const SpreadS8Row& row : spread_s8_rows()) {
    if (!(detected_isas() & bit(row.isa))) continue;
    covered(row.name);
    for_all_problems({1, 4, 17, 31, 32}, [&](auto&&... problem) { check_spread(row, problem...); });
  }
}

void test_transpose_s8() {
  Random random(20240304);
  for (const auto& row : kernel_rows<TransposeS8Args>()) {
    if (!(detected_isas() & bit(row.isa))) continue;
    covered(row.name);
    for (const std::int32_t m : {1, 7, 8, 9, 31, 32}) {
      for (const std::int32_t column : {0, 8, 24}) {
        if (column + m > 32) continue;
        const std::int32_t k = 64 * random.between(1, 3);
        Guarded<std::uint8_t> a(m * k), tile(32 * k);
        for (std::int64_t i = 0; i < a.size(); ++i) a[i] = static_cast<std::uint8_t>(random.next());
        tile.fill(0xee);
        row.run({a.data(), k, tile.data(), column, m, k});
        bool same = true;
        for (std::int32_t i = 0; i < 32; ++i) {
          const bool spare = i < column || i >= column + static_cast<std::int32_t>(round_up(m, 8));
          for (std::int32_t j = 0; j < k; ++j) {
            if (spare) same = same && tile[32 * j + i] == 0xee;
            if (i >= column && i < column + m) {
              same = same && tile[32 * j + i] == a[(i - column) * k + j];
            }
          }
        }
        check(same, std::string(row.name) + " m=" + std::to_string(m));
      }
    }
  }
}

}  // namespace octavo_test
