// SPDX-License-Identifier: Apache-2.0
// The blocks of a sparse weight, and every kernel row that reads them, on guarded memory; and the
// layer that holds its weight so, against the dense one.
#include <cstdlib>

#include "bench.h"
#include "guarded.h"
#include "sparse_layer.h"
#include "sparse_weight.h"
#include "tests.h"
#include "weights/bsr.h"

namespace octavo_test {
namespace {

using namespace octavo;

template <class Packed>
constexpr std::int64_t kSet = Packed::kUnitBytes / 4;

// How many inputs of a part the outputs of set s use.
std::int64_t blocks_in(const Matrix& w, std::int64_t set, std::int64_t s, std::int64_t part) {
  std::int64_t found = 0;
  const std::int64_t size = set == 1 ? 768 : 4096;
  for (std::int64_t k = size * part; k < std::min(w.k, size * (part + 1)); ++k) {
    bool any = false;
    for (std::int64_t n = set * s; n < std::min(set * (s + 1), w.n); ++n) {
      any |= w.codes[static_cast<std::size_t>(n * w.k + k)] != 0;
    }
    found += any;
  }
  return found;
}

int magnitude(const std::int8_t* code) { return std::abs(code[0]) + std::abs(code[1]); }

// As many squares as must be there; the way back; what kernels rely on.
template <class Packed>
void check_blocks(const Matrix& w) {
  constexpr std::int64_t set = kSet<Packed>;
  const Packed packed(w.codes.data(), w.n, w.k);
  const std::string what = name_of("blocks", 0, w);
  check_codes(packed, w, what);
  std::int64_t t = 0;
  const std::int64_t sets = 16 / set * packed.panels();
  for (std::int64_t part = 0; part < packed.parts(); ++part) {
    const BsrPanels all = packed.stretch(0, packed.panels(), part);
    for (std::int64_t s = 0; s < sets; ++s) {
      check(all.first[s] == t, what + " first square");
      const std::int64_t count = (blocks_in(w, set, s, part) + 3) / 4;
      const std::int64_t paired = set == 1 ? 0 : all.paired[s];
      check(paired % 2 == 0 && paired <= count, what + " paired");
      for (std::int64_t i = 0; i < set * (paired / 2); ++i) {  // columns of twos of squares
        const std::int8_t* one = all.code + 4 * (set * (t + 2 * (i / set)) + i % set);
        const std::int8_t* other = one + 4 * set;
        check(magnitude(one) + magnitude(other) <= 255, what + " pair, first half");
        check(magnitude(one + 2) + magnitude(other + 2) <= 255, what + " pair, second half");
      }
      t += count;
    }
    check(all.first[sets] == t, what + " end of a part");
  }
  check(packed.units() == t, what + " count");
  const std::uint16_t* place = packed.stretch(0, packed.panels(), 0).index;
  check(std::all_of(place, place + 4 * t, [&](std::uint16_t k) { return k < w.k; }),
        what + " places");
  check(static_cast<std::int64_t>(packed.nbytes()) ==
            (4 * set + 8) * packed.units() +
                4 * ((set == 1 ? 1 : 2) * sets * packed.parts() + 1 + 16 * packed.panels() + w.n),
        what + " bytes");
}

// Squares of small codes all fit, so that at most one of a set is left over.
void check_small_codes_pair(Random& random) {
  Matrix w = make_weight(20, 300, Pattern::kBlocks4x1, random);
  for (std::int8_t& code : w.codes) code = static_cast<std::int8_t>(code % 32);
  const Bsr4x1 packed(w.codes.data(), w.n, w.k);
  check_codes(packed, w, "small squares");
  const BsrPanels all = packed.stretch(0, packed.panels(), 0);
  for (std::int64_t s = 0; s < w.n / 4; ++s) {
    const std::int64_t count = all.first[s + 1] - all.first[s];
    check(all.paired[s] == count / 2 * 2 && count > 2, "small squares are paired");
  }
}

// A packed weight whose squares lie behind guard pages: kernels may read no further.
template <class Packed>
struct GuardedSquares {
  GuardedSquares(const Packed& packed, Edge edge)
      : codes(Packed::kUnitBytes * packed.units(), edge),
        places(4 * packed.units(), edge),
        packed(packed) {
    if (packed.units() == 0) return;
    const BsrPanels first = packed.stretch(0, packed.panels(), 0);
    std::memcpy(codes.data(), first.code, static_cast<std::size_t>(codes.size()));
    std::memcpy(places.data(), first.index, static_cast<std::size_t>(2 * places.size()));
  }

  BsrPanels part(std::int64_t which) {
    BsrPanels panels = packed.stretch(0, packed.panels(), which);
    if (packed.units() != 0) {
      panels.code = codes.data();
      panels.index = places.data();
    }
    return panels;
  }

  Guarded<std::int8_t> codes;
  Guarded<std::uint16_t> places;
  const Packed& packed;
};

// `rows` of the tile is 1, for one row as it is, or the kernel's most rows.
template <class Packed>
void check_spread(const BroadcastBsr4x1S8Row& row, std::int64_t rows, std::int64_t m,
                  const Matrix& w, Pattern pattern, Edge edge, Random& random) {
  const Packed packed(w.codes.data(), w.n, w.k);
  GuardedSquares<Packed> squares(packed, edge);
  Codes a(m, w.k, row.form, pattern, edge, random);
  Guarded<std::uint8_t> tile(rows * a.k_pad, edge);
  tile.fill(0x5a);
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t k = 0; k < a.k_pad; ++k) tile[rows * k + i] = a.bytes[i * a.k_pad + k];
  }
  const std::int64_t width = round_up(w.n, 16);
  Guarded<std::int32_t> c(m * width, edge);
  for (std::int64_t part = 0; part < packed.parts(); ++part) {
    row.run({squares.part(part), tile.data(), rows, c.data(), width, static_cast<std::int32_t>(m),
             part > 0});
  }
  const std::string what = name_of(row.name, m, w) + " set=" + std::to_string(kSet<Packed>);
  check_sums(c.data(), width, a, row.form, m, w, what);
  time_case(what, [&] {
    row.run(
        {squares.part(0), tile.data(), rows, c.data(), width, static_cast<std::int32_t>(m), false});
  });
}

template <class Packed>
void check_row(const BroadcastBsr4x1S8Row& row, std::int64_t rows,
               const std::vector<std::int64_t>& ms, Random& random) {
  // The last has two parts, of more than the 64 squares that are interleaved at once.
  for_all_problems(ms, {0, 1, 15, 64, 65, 200, 4500}, random,
                   [&](auto&&... problem) { check_spread<Packed>(row, rows, problem...); });
}

}  // namespace

void test_bsr4x1() {
  Random random(20261128);
  const auto check_both = [](const Matrix& w) {
    check_blocks<Bsr1x1>(w);
    check_blocks<Bsr4x1>(w);
  };
  for_all_packings({0, 1, 4, 15, 65, 300, 768, 1600}, random, check_both);
  check_small_codes_pair(random);
  check_layers({"bsr1x1", "bsr4x1"}, {1, 2, 3, 4, 9, 33, 140},
               {Pattern::kRandom, Pattern::kBlocks4x1, Pattern::kEmpty}, 1000, random);
}

void test_broadcast_bsr4x1_s8() {
  Random random(20261129);
  for_each_row<BroadcastBsr4x1S8Args>(
      [&](const KernelRow<BroadcastBsr4x1S8Args>& row) {
        check_row<Bsr1x1>(row, 1, {1}, random);
        check_row<Bsr4x1>(row, 1, {1}, random);
        std::vector<std::int64_t> ms = {1, 8, 9, 16, 17, 32, 33, 63, 64};
        while (ms.back() > row.most_rows) ms.pop_back();
        check_row<Bsr1x1>(row, row.most_rows, ms, random);
        check_row<Bsr4x1>(row, row.most_rows, ms, random);
      },
      [&](const KernelRow<BroadcastBsr4x1S8Args>& row) {
        const Matrix w = make_weight(192, 768, Pattern::kBlocks4x1, random);
        check_spread<Bsr1x1>(row, row.most_rows, 32, w, Pattern::kBlocks4x1, Edge::kEnd, random);
        check_spread<Bsr4x1>(row, row.most_rows, 32, w, Pattern::kBlocks4x1, Edge::kEnd, random);
      });
}

}  // namespace octavo_test
