// SPDX-License-Identifier: Apache-2.0
#include "layout/packed_quads.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <limits>
#include <stdexcept>
#include <vector>

#include "layout/column_sums.h"
#include "layout/pairs.h"

namespace octavo {
namespace {

struct Quad {
  std::int8_t code[PackedQuads::kGroup];
  std::uint16_t group;
};

// The quads of a column that are there, their places ascending.
void find_quads(const std::int8_t* column, std::int64_t k, std::vector<Quad>& found) {
  found.clear();
  for (std::int64_t k0 = 0; k0 < k; k0 += PackedQuads::kGroup) {
    Quad quad = {{}, static_cast<std::uint16_t>(k0 / PackedQuads::kGroup)};
    std::memcpy(quad.code, column + k0,
                static_cast<std::size_t>(std::min<std::int64_t>(PackedQuads::kGroup, k - k0)));
    const auto is_zero = [](std::int8_t code) { return code == 0; };
    if (!std::all_of(std::begin(quad.code), std::end(quad.code), is_zero)) found.push_back(quad);
  }
}

bool fit(const Quad& a, const Quad& b) {
  const auto magnitude = [](const Quad& quad, int i) {
    return std::abs(quad.code[i]) + std::abs(quad.code[i + 1]);
  };
  return magnitude(a, 0) + magnitude(b, 0) <= 255 && magnitude(a, 2) + magnitude(b, 2) <= 255;
}

}  // namespace

PackedQuads::Offsets PackedQuads::offsets() const {
  Offsets at;
  at.first_quad = kGroup * quads_;
  at.paired = at.first_quad + 4 * (kPanelWidth * panels() + 1);
  at.negative_sum = at.paired + 4 * kPanelWidth * panels();
  at.col_sum = at.negative_sum + 4 * kPanelWidth * panels();
  at.group = at.col_sum + 4 * n_;
  at.end = at.group + 2 * quads_;
  return at;
}

PackedQuads::PackedQuads(const std::int8_t* codes, std::int64_t n, std::int64_t k)
    : n_(n), k_(k), quads_(0) {
  std::vector<Quad> quads, left_over;
  for (std::int64_t j = 0; j < n; ++j) {
    find_quads(codes + j * k, k, quads);
    quads_ += static_cast<std::int64_t>(quads.size());
  }
  if (quads_ > std::numeric_limits<std::uint32_t>::max()) {
    throw std::length_error("codes: more than 2**32 - 1 quads that are not zero");
  }
  buffer_ = AlignedBuffer(static_cast<std::size_t>(offsets().end));
  const std::int64_t columns = kPanelWidth * panels();
  auto* first_quad = part<std::uint32_t>(offsets().first_quad);
  auto* paired = part<std::uint32_t>(offsets().paired);
  auto* group = part<std::uint16_t>(offsets().group);
  auto* code = part<std::int8_t>(0);
  std::fill(paired, paired + columns, 0u);
  std::uint32_t t = 0;
  for (std::int64_t j = 0; j < n; ++j) {
    find_quads(codes + j * k, k, quads);
    paired[j] = static_cast<std::uint32_t>(put_pairs_first(quads, left_over, fit));
    first_quad[j] = t;
    for (const Quad& quad : quads) {
      std::memcpy(code + std::int64_t{kGroup} * t, quad.code, kGroup);
      group[t++] = quad.group;
    }
  }
  std::fill(first_quad + n, first_quad + columns + 1, t);
  auto* negative_sum = part<std::int32_t>(offsets().negative_sum);
  std::fill(negative_sum, negative_sum + columns, 0);
  sum_columns(codes, n, k, part<std::int32_t>(offsets().col_sum), negative_sum);
}

QuadPanels PackedQuads::stretch(std::int64_t p, std::int64_t panels) const {
  const Offsets at = offsets();
  return {part<std::uint32_t>(at.first_quad) + kPanelWidth * p,
          part<std::uint32_t>(at.paired) + kPanelWidth * p,
          part<std::int32_t>(at.negative_sum) + kPanelWidth * p,
          part<std::uint16_t>(at.group),
          part<std::int8_t>(0),
          static_cast<std::int32_t>(panels)};
}

void PackedQuads::unpack(std::int8_t* out) const {
  std::fill(out, out + n_ * k_, std::int8_t{0});
  const QuadPanels all = stretch(0, panels());
  for (std::int64_t n = 0; n < n_; ++n) {
    for (std::int64_t t = all.first_quad[n]; t < all.first_quad[n + 1]; ++t) {
      const std::int64_t k0 = std::int64_t{kGroup} * all.group[t];
      std::memcpy(out + n * k_ + k0, all.code + kGroup * t,
                  static_cast<std::size_t>(std::min<std::int64_t>(kGroup, k_ - k0)));
    }
  }
}

}  // namespace octavo
