// SPDX-License-Identifier: Apache-2.0
#include "layout/packed_strips.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <vector>

#include "layout/column_sums.h"
#include "layout/pairs.h"

namespace octavo {
namespace {

struct Square {
  std::int8_t code[4][4];  // of as many outputs as a set has; zeros behind them
  std::uint16_t place[4];
};

// The squares of a set of outputs (codes of the first, and how many), their places ascending.
void find_squares(const std::int8_t* codes, std::int64_t outputs, std::int64_t k,
                  std::vector<Square>& found) {
  found.clear();
  int strips = 4;  // of the last square
  for (std::int64_t i = 0; i < k; ++i) {
    bool any = false;
    for (std::int64_t j = 0; j < outputs; ++j) any |= codes[j * k + i] != 0;
    if (!any) continue;
    if (strips == 4) {
      found.push_back({});
      strips = 0;
    }
    Square& square = found.back();
    // Those that no strip takes share its place.
    std::fill(square.place + strips, square.place + 4, static_cast<std::uint16_t>(i));
    for (std::int64_t j = 0; j < outputs; ++j) square.code[j][strips] = codes[j * k + i];
    ++strips;
  }
}

bool fit(const Square& a, const Square& b) {
  const auto magnitude = [](const std::int8_t* code) {
    return std::abs(code[0]) + std::abs(code[1]);
  };
  for (int j = 0; j < 4; ++j) {
    const std::int8_t *x = a.code[j], *y = b.code[j];
    if (magnitude(x) + magnitude(y) > 255 || magnitude(x + 2) + magnitude(y + 2) > 255) {
      return false;
    }
  }
  return true;
}

}  // namespace

PackedStrips::Offsets PackedStrips::offsets() const {
  Offsets at;
  at.first_square = 4 * set_ * squares_;
  at.paired = at.first_square + 4 * (sets() + 1);
  at.negative_sum = at.paired + (pairs() ? 4 * sets() : 0);
  at.col_sum = at.negative_sum + 4 * kPanelWidth * panels();
  at.place = at.col_sum + 4 * n_;
  at.end = at.place + 2 * 4 * squares_;
  return at;
}

PackedStrips::PackedStrips(const std::int8_t* codes, std::int64_t n, std::int64_t k,
                           std::int64_t set)
    : n_(n), k_(k), set_(set), squares_(0) {
  std::vector<Square> squares, left_over;
  const auto find = [&](std::int64_t j) {
    find_squares(codes + j * k, std::min(set, n - j), k, squares);
    return static_cast<std::int64_t>(squares.size());
  };
  for (std::int64_t j = 0; j < n; j += set) squares_ += find(j);
  if (squares_ > std::numeric_limits<std::uint32_t>::max()) {
    throw std::length_error("codes: more than 2**32 - 1 squares of strips that are not zero");
  }
  buffer_ = AlignedBuffer(static_cast<std::size_t>(offsets().end));
  auto* first_square = part<std::uint32_t>(offsets().first_square);
  auto* paired = part<std::uint32_t>(offsets().paired);
  auto* place = part<std::uint16_t>(offsets().place);
  auto* code = part<std::int8_t>(0);
  if (pairs()) std::fill(paired, paired + sets(), 0u);
  std::uint32_t t = 0;
  for (std::int64_t s = 0; set * s < n; ++s) {
    find(set * s);
    if (pairs()) {
      paired[s] = static_cast<std::uint32_t>(put_pairs_first(squares, left_over, fit));
    }
    first_square[s] = t;
    for (const Square& square : squares) {
      std::memcpy(code + 4 * set * t, square.code, static_cast<std::size_t>(4 * set));
      std::memcpy(place + std::int64_t{4} * t++, square.place, sizeof square.place);
    }
  }
  std::fill(first_square + (n + set - 1) / set, first_square + sets() + 1, t);
  auto* negative_sum = part<std::int32_t>(offsets().negative_sum);
  std::fill(negative_sum, negative_sum + kPanelWidth * panels(), 0);
  sum_columns(codes, n, k, part<std::int32_t>(offsets().col_sum), negative_sum);
}

StripPanels PackedStrips::stretch(std::int64_t p, std::int64_t panels) const {
  const Offsets at = offsets();
  return {part<std::uint32_t>(at.first_square) + kPanelWidth / set_ * p,
          pairs() ? part<std::uint32_t>(at.paired) + kPanelWidth / set_ * p : nullptr,
          part<std::int32_t>(at.negative_sum) + kPanelWidth * p,
          part<std::uint16_t>(at.place),
          part<std::int8_t>(0),
          static_cast<std::int32_t>(panels),
          static_cast<std::int32_t>(set_)};
}

void PackedStrips::unpack(std::int8_t* out) const {
  std::fill(out, out + n_ * k_, std::int8_t{0});
  const StripPanels all = stretch(0, panels());
  for (std::int64_t n = 0; n < n_; ++n) {
    const std::int64_t s = n / set_;
    for (std::int64_t t = all.first_square[s]; t < all.first_square[s + 1]; ++t) {
      const std::int8_t* code = all.code + 4 * (set_ * t + n % set_);
      for (int i = 0; i < 4; ++i) {
        // What fills up a square is zero, and shares its place with a strip.
        if (code[i] != 0) out[n * k_ + all.place[4 * t + i]] = code[i];
      }
    }
  }
}

}  // namespace octavo
