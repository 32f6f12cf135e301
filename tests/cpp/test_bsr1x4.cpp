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

std::int64_t blocks_in(const Matrix& w, std::int64_t n) {
  std::int64_t found = 0;
  for (std::int64_t k0 = 0; n < w.n && k0 < w.k; k0 += 4) {
    bool any = false;
    for (std::int64_t k = k0; k < std::min(k0 + 4, w.k); ++k) {
      any |= w.codes[static_cast<std::size_t>(n * w.k + k)] != 0;
    }
    found += any;
  }
  return found;
}

int magnitude(const std::int8_t* code) { return std::abs(code[0]) + std::abs(code[1]); }

// As many blocks as must be there; the way back; what kernels rely on.
void check_blocks(const Matrix& w) {
  const Bsr1x4 packed(w.codes.data(), w.n, w.k);
  const std::string what = name_of("blocks", 0, w);
  check_codes(packed, w, what);
  const BsrPanels all = packed.stretch(0, packed.panels());
  std::int64_t t = 0;
  for (std::int64_t n = 0; n < 16 * packed.panels(); ++n) {
    check(all.first[n] == t, what + " first block");
    const std::int64_t count = blocks_in(w, n), paired = all.paired[n];
    check(paired % 2 == 0 && paired <= count, what + " paired");
    for (std::int64_t i = t; i < t + paired; i += 2) {
      const std::int8_t* code = all.code + 4 * i;
      check(magnitude(code) + magnitude(code + 4) <= 255, what + " pair, first half");
      check(magnitude(code + 2) + magnitude(code + 6) <= 255, what + " pair, second half");
    }
    t += count;
  }
  check(all.first[16 * packed.panels()] == t && packed.units() == t, what + " count");
  check(static_cast<std::int64_t>(packed.nbytes()) ==
            6 * packed.units() + 4 * (48 * packed.panels() + 1) + 4 * w.n,
        what + " bytes");
}

// Blocks of small codes all fit, so that at most one of a column is left over.
void check_small_codes_pair(Random& random) {
  Matrix w = make_weight(20, 300, Pattern::kBlocks1x4, random);
  for (std::int8_t& code : w.codes) code = static_cast<std::int8_t>(code % 32);
  const Bsr1x4 packed(w.codes.data(), w.n, w.k);
  check_codes(packed, w, "small blocks");
  const BsrPanels all = packed.stretch(0, packed.panels());
  for (std::int64_t n = 0; n < w.n; ++n) {
    check(all.paired[n] == blocks_in(w, n) / 2 * 2 && all.paired[n] > 0, "small blocks are paired");
  }
}

void check_spread(const BroadcastBsr1x4S8Row& row, std::int64_t m, const Matrix& w, Pattern pattern,
                  Edge edge, Random& random) {
  const Bsr1x4 packed(w.codes.data(), w.n, w.k);
  const GuardedGroups<BsrPanels> blocks(packed.stretch(0, packed.panels()), packed.units(), 4,
                                        edge);
  Codes a(m, w.k, row.form, pattern, edge, random);
  const std::int64_t rows = round_up(m, row.lanes);
  Guarded<std::uint8_t> tile(rows * a.k_pad, edge);
  tile.fill(0x5a);
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t k = 0; k < a.k_pad; ++k) {
      tile[4 * (rows * (k / 4) + i) + k % 4] = a.bytes.data()[i * a.k_pad + k];
    }
  }
  const std::int64_t width = round_up(w.n, 16);
  Guarded<std::int32_t> c(m * width, edge);
  const BroadcastBsr1x4S8Args args = {blocks.whole, tile.data(), c.data(), width,
                                      static_cast<std::int32_t>(m)};
  row.run(args);
  check_sums(c.data(), width, a, row.form, m, w, name_of(row.name, m, w));
  time_case(name_of(row.name, m, w), [&] { row.run(args); });
}

}  // namespace

void test_bsr1x4() {
  Random random(20261126);
  for_all_packings({0, 1, 4, 15, 64, 65, 300}, random, check_blocks);
  check_small_codes_pair(random);
  check_layers({"bsr1x4"}, {1, 2, 3, 9, 40, 140},
               {Pattern::kRandom, Pattern::kBlocks1x4, Pattern::kEmpty}, 700, random);
}

void test_broadcast_bsr1x4_s8() {
  for_each_row<BroadcastBsr1x4S8Args>(
      [&](const KernelRow<BroadcastBsr1x4S8Args>& row) {
        Random random(20261125);
        const std::int64_t most = row.most_rows;
        for_all_problems({1, 8, 9, 23, most / 2 + 1, most - 1, most}, {0, 1, 15, 64, 65, 200},
                         random, [&](auto&&... problem) { check_spread(row, problem...); });
      },
      [&](const KernelRow<BroadcastBsr1x4S8Args>& row) {
        Random random(7);
        const Matrix w = make_weight(192, 768, Pattern::kBlocks1x4, random);
        check_spread(row, 32, w, Pattern::kBlocks1x4, Edge::kEnd, random);
      });
}

}  // namespace octavo_test
