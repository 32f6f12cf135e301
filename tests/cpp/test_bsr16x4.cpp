// SPDX-License-Identifier: Apache-2.0
// The blocks of a sparse weight, and every kernel row that reads them, on guarded memory; and the
// layer that holds its weight so, against the dense one.
#include "bench.h"
#include "guarded.h"
#include "sparse_layer.h"
#include "sparse_weight.h"
#include "tests.h"
#include "weights/bsr.h"

namespace octavo_test {
namespace {

using namespace octavo;

bool is_zero(const Matrix& w, std::int64_t n0, std::int64_t k0, std::int64_t width) {
  for (std::int64_t n = n0; n < std::min(n0 + 16, w.n); ++n) {
    for (std::int64_t k = k0; k < std::min(k0 + width, w.k); ++k) {
      if (w.codes[static_cast<std::size_t>(n * w.k + k)] != 0) return false;
    }
  }
  return true;
}

// The blocks that must be there, in order, and no others; the way back; the bytes.
void check_blocks(const Matrix& w) {
  const Bsr16x4 packed(w.codes.data(), w.n, w.k);
  const std::string what = name_of("blocks", 0, w);
  check_codes(packed, w, what);
  const BsrPanels all = packed.stretch(0, packed.panels());
  std::uint32_t t = 0;
  std::int64_t tiles = 0;
  for (std::int64_t p = 0; p < packed.panels(); ++p) {
    check(all.first[p] == t, what + " first block");
    for (std::int64_t k = 0; k < w.k; k += 4) {
      if (k % 64 == 0) tiles += !is_zero(w, 16 * p, k, 64);
      if (is_zero(w, 16 * p, k, 4)) continue;
      check(t < packed.units() && all.index[t] == k / 4, what + " group");
      ++t;
    }
  }
  check(all.first[packed.panels()] == t && packed.units() == t, what + " count");
  check(packed.tiles() == tiles, what + " tiles");
  check(static_cast<std::int64_t>(packed.nbytes()) ==
            66 * packed.units() + 4 * (packed.panels() + 1) + 64 * packed.panels() + 4 * w.n,
        what + " bytes");
}

void check_gemm_bsr16x4(const GemmBsr16x4S8Row& row, std::int64_t m, const Matrix& w,
                        Pattern pattern, Edge edge, Random& random) {
  const Bsr16x4 packed(w.codes.data(), w.n, w.k);
  const GuardedGroups<BsrPanels> guarded(packed.stretch(0, packed.panels()), packed.units(), 64,
                                         edge);
  const std::int64_t rows = round_up(m, row.m_align), width = round_up(w.n, 16);
  Codes a(rows, w.k, row.form, pattern, edge, random);
  Guarded<std::int32_t> c(rows * width, edge);
  c.fill(77);
  Guarded<std::uint8_t> scratch(row.scratch_bytes, edge);
  const GemmBsr16x4S8Args args = {guarded.whole, a.bytes.data(), a.k_pad,
                                  c.data(),      width,          static_cast<std::int32_t>(m),
                                  scratch.data()};
  row.run(args);
  const std::string what = name_of(row.name, m, w);
  check_sums(c.data(), width, a, row.form, m, w, what);
  time_case(what, [&] { row.run(args); });
}

void check_row(const GemmBsr16x4S8Row& row) {
  Random random(20240501);
  for_all_problems({1, 2, 3, 4, 6, 7, 15, 33, 70}, {0, 1, 15, 64, 65, 200}, random,
                   [&](auto&&... problem) { check_gemm_bsr16x4(row, problem...); });
  for (const Pattern pattern : {Pattern::kDense, Pattern::kBlocks16x4, Pattern::kTiles}) {
    const Matrix w = make_weight(33, 3300, pattern, random);
    check_gemm_bsr16x4(row, 18, w, pattern, Edge::kFront, random);
  }
}

}  // namespace

void test_bsr16x4() {
  Random random(20240502);
  for_all_packings({0, 1, 4, 15, 64, 65, 300}, random, check_blocks);
  check_layers({"bsr16x4"}, {1, 3, 9, 40, 140},
               {Pattern::kRandom, Pattern::kBlocks16x4, Pattern::kTiles}, 700, random);
}

void test_gemm_bsr16x4_s8() {
  for_each_row<GemmBsr16x4S8Args>(check_row, [](const GemmBsr16x4S8Row& row) {
    Random random(7);
    const Matrix w = make_weight(192, 768, Pattern::kBlocks16x4, random);
    for (const std::int64_t m : {1, 32}) {
      check_gemm_bsr16x4(row, m, w, Pattern::kRandom, Edge::kEnd, random);
    }
  });
}

}  // namespace octavo_test
