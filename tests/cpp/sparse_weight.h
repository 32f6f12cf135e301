// SPDX-License-Identifier: Apache-2.0
// Sparse int8 weights of every kind, codes to multiply them with, and the naive sums.
#pragma once
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "check.h"
#include "guarded.h"
#include "kernels/gemm_s8/kernel.h"

namespace octavo_test {

using octavo::ActivationEncoding;

enum class Pattern {
  kRandom,
  kTwoOfFour,
  kDense,
  kEmpty,
  kOneColumn,
  kLastCode,
  kExtremes,
  kBlocks1x4,
  kBlocks4x1,
  kBlocks16x4,
  kTiles,  // of 16 x 64
};
constexpr Pattern kPatterns[] = {Pattern::kRandom,     Pattern::kTwoOfFour, Pattern::kDense,
                                 Pattern::kEmpty,      Pattern::kOneColumn, Pattern::kLastCode,
                                 Pattern::kExtremes,   Pattern::kBlocks1x4, Pattern::kBlocks4x1,
                                 Pattern::kBlocks16x4, Pattern::kTiles};

struct Matrix {
  std::int64_t n, k;
  std::vector<std::int8_t> codes;  // (n, k)
};

inline std::int8_t non_zero(Random& random) {
  const auto value = static_cast<std::int8_t>(random.between(-128, 126));
  return static_cast<std::int8_t>(value < 0 ? value : value + 1);
}

inline Matrix make_weight(std::int64_t n, std::int64_t k, Pattern pattern, Random& random) {
  Matrix w{n, k, std::vector<std::int8_t>(static_cast<std::size_t>(n * k))};
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
      case Pattern::kBlocks1x4: kept = (7 * (i / k) + 5 * (i % k / 4)) % 4 == 0; break;
      case Pattern::kBlocks4x1: kept = (7 * (i / k / 4) + 5 * (i % k)) % 4 == 0; break;
      case Pattern::kBlocks16x4: kept = (7 * (i / k / 16) + 5 * (i % k / 4)) % 4 == 0; break;
      case Pattern::kTiles: kept = (i / k / 16 + i % k / 64) % 2 == 0; break;
    }
    if (!kept) continue;
    w.codes[static_cast<std::size_t>(i)] = pattern == Pattern::kExtremes
                                               ? static_cast<std::int8_t>(i % 3 ? -128 : 127)
                                               : non_zero(random);
  }
  return w;
}

inline std::string name_of(const std::string& what, std::int64_t m, const Matrix& w) {
  return what + " m=" + std::to_string(m) + " n=" + std::to_string(w.n) +
         " k=" + std::to_string(w.k);
}

// Calls check_one(m, weight, pattern, edge, random) for products around panels of 16 outputs.
template <class Check>
void for_all_problems(const std::vector<std::int64_t>& ms, const std::vector<std::int64_t>& ks,
                      Random& random, const Check& check_one) {
  for (const std::int64_t m : ms) {
    for (const std::int64_t n : {1, 4, 15, 16, 17, 50}) {
      for (const std::int64_t k : ks) {
        const Edge edge = (m + n + k) % 2 == 0 ? Edge::kEnd : Edge::kFront;
        check_one(m, make_weight(n, k, Pattern::kRandom, random), Pattern::kRandom, edge, random);
      }
    }
    for (const Pattern pattern : kPatterns) {
      check_one(m, make_weight(72, 300, pattern, random), pattern, Edge::kEnd, random);
    }
  }
}

// Calls check_one(weight) for weights to be packed: of few sizes every pattern, and the widest.
template <class Check>
void for_all_packings(const std::vector<std::int64_t>& ks, Random& random, const Check& check_one) {
  for (const std::int64_t n : {0, 1, 4, 16, 17, 50}) {
    for (const std::int64_t k : ks) {
      for (const Pattern pattern : kPatterns) check_one(make_weight(n, k, pattern, random));
    }
  }
  check_one(make_weight(3, 65536, Pattern::kLastCode, random));
}

// Rows of codes as bytes of a form, zero-padded to 64.
struct Codes {
  Codes(std::int64_t m, std::int64_t k, ActivationEncoding form, Pattern pattern, Edge edge,
        Random& random)
      : k_pad(round_up(std::max<std::int64_t>(k, 1), 64)), bytes(m * k_pad, edge) {
    bytes.fill(0);
    for (std::int64_t i = 0; i < m; ++i) {
      for (std::int64_t j = 0; j < k; ++j) {
        const bool low = pattern == Pattern::kExtremes;
        const std::int64_t code = low ? -128 : random.between(-128, 127);
        bytes[i * k_pad + j] =
            static_cast<std::uint8_t>(code + (form == ActivationEncoding::kU8 ? 128 : 0));
      }
    }
  }

  std::int64_t k_pad;
  Guarded<std::uint8_t> bytes;
};

// The blocks of a packed weight and their places behind guard pages: kernels may read no further.
// Panels are BsrPanels or BsrPanels.
template <class Panels>
struct GuardedGroups {
  GuardedGroups(const Panels& panels, std::int64_t count, std::int64_t bytes_each, Edge edge)
      : codes(bytes_each * count, edge), groups(count, edge), whole(panels) {
    if (count == 0) return;
    std::memcpy(codes.data(), whole.code, static_cast<std::size_t>(codes.size()));
    std::memcpy(groups.data(), whole.index, static_cast<std::size_t>(2 * groups.size()));
    whole.code = codes.data();
    whole.index = groups.data();
  }

  Guarded<std::int8_t> codes;
  Guarded<std::uint16_t> groups;
  Panels whole;
};

inline std::int32_t naive_sum(Codes& a, ActivationEncoding form, std::int64_t m, const Matrix& w,
                              std::int64_t n) {
  std::uint32_t sum = 0;
  for (std::int64_t k = 0; n < w.n && k < w.k; ++k) {
    const std::uint8_t byte = a.bytes[m * a.k_pad + k];
    const int code = form == ActivationEncoding::kU8 ? byte : static_cast<std::int8_t>(byte);
    sum += static_cast<std::uint32_t>(code * w.codes[static_cast<std::size_t>(n * w.k + k)]);
  }
  return static_cast<std::int32_t>(sum);
}

// What every packed sparse weight keeps of its codes: all of them, and column sums.
template <class Packed>
void check_codes(const Packed& packed, const Matrix& w, const std::string& what) {
  std::vector<std::int8_t> unpacked(w.codes.size(), 99);
  packed.unpack(unpacked.data());
  check_same(unpacked.data(), w.codes.data(), w.n * w.k, what + " unpacked");
  std::vector<std::int32_t> sums(static_cast<std::size_t>(w.n));
  for (std::int64_t i = 0; i < w.n * w.k; ++i) {
    sums[static_cast<std::size_t>(i / w.k)] += w.codes[static_cast<std::size_t>(i)];
  }
  check_same(packed.col_sum(), sums.data(), w.n, what + " column sums");
}

// Checks m rows of sums over whole panels.
inline void check_sums(const std::int32_t* c, std::int64_t stride, Codes& a,
                       ActivationEncoding form, std::int64_t m, const Matrix& w,
                       const std::string& what) {
  const std::int64_t width = round_up(w.n, 16);
  std::vector<std::int32_t> expected(static_cast<std::size_t>(width));
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t n = 0; n < width; ++n) {
      expected[static_cast<std::size_t>(n)] = naive_sum(a, form, i, w, n);
    }
    check_same(c + i * stride, expected.data(), width, what);
  }
}

}  // namespace octavo_test
