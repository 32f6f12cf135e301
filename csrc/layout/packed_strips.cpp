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

// The squares of a set of outputs (codes of the first, and how many) for inputs [begin, end), their
// places ascending.
void find_squares(const std::int8_t* codes, std::int64_t outputs, std::int64_t k,
                  std::int64_t begin, std::int64_t end, std::vector<Square>& found) {
  found.clear();
  int strips = 4;  // of the last square
  for (std::int64_t i = begin; i < end; ++i) {
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
  Offsets to;
  to.first_square = 4 * set_ * squares_;
  to.paired = to.first_square + 4 * (sets() * parts() + 1);
  to.negative_sum = to.paired + (pairs() ? 4 * sets() * parts() : 0);
  to.col_sum = to.negative_sum + 4 * kPanelWidth * panels();
  to.place = to.col_sum + 4 * n_;
  to.end = to.place + 2 * 4 * squares_;
  return to;
}

PackedStrips::PackedStrips(const std::int8_t* codes, std::int64_t n, std::int64_t k,
                           std::int64_t set)
    : n_(n), k_(k), set_(set), squares_(0) {
  std::vector<Square> squares, left_over;
  const auto find = [&](std::int64_t part, std::int64_t s) {
    find_squares(codes + set * s * k, std::min(set, n - set * s), k, part_inputs() * part,
                 std::min(part_inputs() * (part + 1), k), squares);
    return static_cast<std::int64_t>(squares.size());
  };
  const std::int64_t used = (n + set - 1) / set;
  for (std::int64_t part = 0; part < parts(); ++part) {
    for (std::int64_t s = 0; s < used; ++s) squares_ += find(part, s);
  }
  if (squares_ > std::numeric_limits<std::uint32_t>::max()) {
    throw std::length_error("codes: more than 2**32 - 1 squares of strips that are not zero");
  }
  buffer_ = AlignedBuffer(static_cast<std::size_t>(offsets().end));
  auto* first_square = at<std::uint32_t>(offsets().first_square);
  auto* paired = at<std::uint32_t>(offsets().paired);
  auto* place = at<std::uint16_t>(offsets().place);
  auto* code = at<std::int8_t>(0);
  if (pairs()) std::fill(paired, paired + sets() * parts(), 0u);
  std::uint32_t t = 0;
  for (std::int64_t part = 0; part < parts(); ++part, paired += sets()) {
    for (std::int64_t s = 0; s < sets(); ++s) {
      *first_square++ = t;
      if (s >= used) continue;
      find(part, s);
      if (pairs()) {
        paired[s] = static_cast<std::uint32_t>(put_pairs_first(squares, left_over, fit));
      }
      for (const Square& square : squares) {
        std::memcpy(code + 4 * set * t, square.code, static_cast<std::size_t>(4 * set));
        std::memcpy(place + std::int64_t{4} * t++, square.place, sizeof square.place);
      }
    }
  }
  *first_square = t;
  auto* negative_sum = at<std::int32_t>(offsets().negative_sum);
  std::fill(negative_sum, negative_sum + kPanelWidth * panels(), 0);
  sum_columns(codes, n, k, at<std::int32_t>(offsets().col_sum), negative_sum);
}

StripPanels PackedStrips::stretch(std::int64_t p, std::int64_t panels, std::int64_t part) const {
  const Offsets to = offsets();
  const std::int64_t first = sets() * part + kPanelWidth / set_ * p;
  return {at<std::uint32_t>(to.first_square) + first,
          pairs() ? at<std::uint32_t>(to.paired) + first : nullptr,
          at<std::int32_t>(to.negative_sum) + kPanelWidth * p,
          at<std::uint16_t>(to.place),
          at<std::int8_t>(0),
          static_cast<std::int32_t>(panels),
          static_cast<std::int32_t>(set_)};
}

void PackedStrips::unpack(std::int8_t* out) const {
  std::fill(out, out + n_ * k_, std::int8_t{0});
  for (std::int64_t part = 0; part < parts(); ++part) {
    const StripPanels all = stretch(0, panels(), part);
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
}

}  // namespace octavo
