// SPDX-License-Identifier: Apache-2.0
// The bitmap of a sparse weight, and every kernel row that reads it, on guarded memory; and the
// layer that holds its weight so, against the dense one.
#include <algorithm>
#include <cstring>

#include "bench.h"
#include "guarded.h"
#include "sparse_layer.h"
#include "sparse_weight.h"
#include "tests.h"
#include "weights/bitmap.h"

namespace octavo_test {
namespace {

using namespace octavo;

// Bits and values behind guard pages: kernels may read 64 bytes from a value on, and no further.
struct GuardedBitmap {
  GuardedBitmap(const BitmapWeight& packed, Edge edge)
      : masks(packed.panels() * packed.k_groups(), edge),
        values(packed.non_zeros() + 64, edge),
        whole(packed.stretch(0, packed.panels())) {
    if (masks.size() != 0) {
      std::memcpy(masks.data(), whole.mask, static_cast<std::size_t>(8 * masks.size()));
    }
    std::memcpy(values.data(), whole.value, static_cast<std::size_t>(values.size()));
    whole.mask = masks.data();
    whole.value = values.data();
  }

  Guarded<std::uint64_t> masks;
  Guarded<std::int8_t> values;
  BitmapPanels whole;
};

// The code at a place of the packed order, zero in the padding.
std::int8_t code_at(const Matrix& w, std::int64_t p, std::int64_t g, std::int64_t i) {
  const std::int64_t n = 16 * p + i / 4, k = 4 * g + i % 4;
  return n < w.n && k < w.k ? w.codes[static_cast<std::size_t>(n * w.k + k)] : std::int8_t{0};
}

void check_bitmap(const Matrix& w) {
  const BitmapWeight packed(w.codes.data(), w.n, w.k);
  const std::string what = name_of("bitmap", 0, w);
  check_codes(packed, w, what);
  const auto zeros = std::count(w.codes.begin(), w.codes.end(), std::int8_t{0});
  check(packed.non_zeros() == w.n * w.k - zeros, what + " non-zeros");
  const std::int64_t groups = packed.panels() * packed.k_groups();
  const std::int64_t blocks = packed.panels() * ((packed.k_groups() + 63) / 64 + 1);
  check(static_cast<std::int64_t>(packed.nbytes()) ==
            8 * groups + 4 * blocks + 4 * w.n + packed.non_zeros() + 64,
        what + " bytes");
}

// Every block of a weight alone, as products of k in parts ask for them.
void check_expand(const KernelRow<ExpandS8Args>& row, const Matrix& w, Edge edge) {
  const BitmapWeight packed(w.codes.data(), w.n, w.k);
  const GuardedBitmap guarded(packed, edge);
  for (std::int64_t g0 = 0; g0 < packed.k_groups(); g0 += 64) {
    const std::int64_t groups = std::min<std::int64_t>(64, packed.k_groups() - g0);
    const std::int64_t stride = 64 * groups;
    Guarded<std::int8_t> out(packed.panels() * stride, edge);
    out.fill(99);
    BitmapPanels b = guarded.whole;
    b.mask += g0;
    b.first_value += g0 / 64;
    const ExpandS8Args args = {b, out.data(), stride, static_cast<std::int32_t>(groups)};
    row.run(args);
    std::vector<std::int8_t> expected;
    for (std::int64_t p = 0; p < packed.panels(); ++p) {
      for (std::int64_t i = 0; i < stride; ++i) {
        expected.push_back(code_at(w, p, g0 + i / 64, i % 64));
      }
    }
    check_same(out.data(), expected.data(), out.size(), name_of(row.name, 0, w));
    time_case(name_of(row.name, 0, w), [&] { row.run(args); });
  }
}

void check_gemm_bitmap(const GemmBitmapS8Row& row, std::int64_t m, const Matrix& w, Pattern pattern,
                       Edge edge, Random& random) {
  const BitmapWeight packed(w.codes.data(), w.n, w.k);
  const GuardedBitmap guarded(packed, edge);
  Codes a(m, w.k, row.form, pattern, edge, random);
  const std::int64_t width = round_up(w.n, 16);
  Guarded<std::int32_t> c(m * width, edge);
  const GemmBitmapS8Args args = {guarded.whole,
                                 a.bytes.data(),
                                 a.k_pad,
                                 c.data(),
                                 width,
                                 static_cast<std::int32_t>(m),
                                 static_cast<std::int32_t>(packed.k_groups())};
  row.run(args);
  const std::string what = name_of(row.name, m, w);
  check_sums(c.data(), width, a, row.form, m, w, what);
  time_case(what, [&] { row.run(args); });
}

template <class Check>
void for_all_weights(Check check_one) {
  Random random(20240401);
  for (const std::int64_t n : {1, 16, 17, 50, 130}) {
    for (const std::int64_t k : {0, 1, 15, 64, 65, 256, 257, 600}) {
      const Edge edge = (n + k) % 2 == 0 ? Edge::kEnd : Edge::kFront;
      check_one(make_weight(n, k, Pattern::kRandom, random), Pattern::kRandom, edge, random);
    }
  }
  for (const Pattern pattern : kPatterns) {
    check_one(make_weight(72, 300, pattern, random), pattern, Edge::kEnd, random);
  }
}

}  // namespace

void test_bitmap() {
  for_all_weights([](const Matrix& w, Pattern, Edge, Random&) { check_bitmap(w); });
  check_bitmap({0, 5, {}});
  for_each_tier([](const std::string& tier) {
    Random random(20240402);
    for (const std::int64_t m : {1, 3, 4, 5, 9, 40}) {
      check_layer("bitmap", tier, m, make_weight(150, 700, Pattern::kRandom, random), random);
      check_layer("bitmap", tier, m, make_weight(33, 0, Pattern::kRandom, random), random);
      check_layer("bitmap", tier, m, make_weight(40, 259, Pattern::kExtremes, random), random);
    }
  });
}

void test_expand_s8() {
  for_each_row<ExpandS8Args>(
      [&](const KernelRow<ExpandS8Args>& row) {
        for_all_weights(
            [&](const Matrix& w, Pattern, Edge edge, Random&) { check_expand(row, w, edge); });
      },
      [&](const KernelRow<ExpandS8Args>& row) {
        Random random(7);
        check_expand(row, make_weight(192, 256, Pattern::kRandom, random), Edge::kEnd);
      });
}

void test_gemm_bitmap_s8() {
  for_each_row<GemmBitmapS8Args>(
      [&](const KernelRow<GemmBitmapS8Args>& row) {
        for (const std::int64_t m : {1, 2, 3, 4, 5, 9}) {
          for_all_weights([&](auto&&... problem) { check_gemm_bitmap(row, m, problem...); });
        }
      },
      [&](const KernelRow<GemmBitmapS8Args>& row) {
        Random random(7);
        const Matrix w = make_weight(192, 768, Pattern::kRandom, random);
        for (const std::int64_t m : {1, 8})
          check_gemm_bitmap(row, m, w, Pattern::kRandom, Edge::kEnd, random);
      });
}

}  // namespace octavo_test
