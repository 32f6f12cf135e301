// SPDX-License-Identifier: Apache-2.0
// An int8 weight of which whole strips (4 outputs by 1 input, or single weights) are zero: the
// operand of spread_strips_s8, whose kernel.h draws a square of four strips. One layout serves all
// tiers.
//
//   | code                | first_square | paired     | negative_sum | col_sum | place         |
//     4 x set x squares     sets x parts   as many,     16 x panels    n         4 x squares
//                           + 1            or none
//     1 byte each           4 bytes each   4            4              4         2
//
// k comes in parts. Those of single weights have 768 inputs, so that a tile's share of one (24 KB
// for 32 rows) stays in L1; sets of 4 read the tile a fourth as often, and have 4096. Each part has
// squares of its own, part by part and set by set. n is padded to panels of 16 columns, 16 /
// set sets each. A strip is left out where all of it is zero, so that any mask can be held; with
// sets of 4, blocks of (4 i) x j weights, at multiples of these, leave out all that they make zero.
// Along k, each square of four outputs is paired with the next where they fit; those left over come
// last. Single outputs have no pairs.
//
// Bytes per weight of a strip that is there: 1.5 with sets of 4; 3 with sets of 1, compressed rows.
#pragma once
#include <algorithm>
#include <cstdint>

#include "kernels/spread_strips_s8/kernel.h"
#include "layout/aligned_buffer.h"

namespace octavo {

class PackedStrips {
 public:
  static constexpr int kPanelWidth = 16;
  static constexpr std::int64_t kMaxK = 65536;  // places have 16 bits

  // codes: (n, k) row-major, all above -128; k at most kMaxK; set: 1 or 4. Throws
  // std::length_error where squares cannot be counted in 32 bits.
  PackedStrips(const std::int8_t* codes, std::int64_t n, std::int64_t k, std::int64_t set);

  std::int64_t n() const { return n_; }
  std::int64_t k() const { return k_; }
  std::int64_t panels() const { return (n_ + kPanelWidth - 1) / kPanelWidth; }
  std::int64_t set() const { return set_; }
  std::int64_t squares() const { return squares_; }
  std::int64_t part_inputs() const { return set_ == 1 ? 768 : 4096; }
  std::int64_t parts() const {
    return std::max<std::int64_t>(1, (k_ + part_inputs() - 1) / part_inputs());
  }
  StripPanels stretch(std::int64_t p, std::int64_t panels, std::int64_t part) const;
  // One int32 (modulo 2^32) per column.
  const std::int32_t* col_sum() const { return at<std::int32_t>(offsets().col_sum); }
  std::size_t nbytes() const { return buffer_.size(); }

  // Row-major (n, k) codes, as given to the constructor.
  void unpack(std::int8_t* out) const;

 private:
  struct Offsets {
    std::int64_t first_square, paired, negative_sum, col_sum, place, end;
  };
  Offsets offsets() const;
  template <class T>
  T* at(std::int64_t offset) const {
    return reinterpret_cast<T*>(buffer_.as<std::uint8_t>() + offset);
  }

  std::int64_t sets() const { return kPanelWidth / set_ * panels(); }
  bool pairs() const { return set_ != 1; }

  std::int64_t n_, k_, set_, squares_;
  AlignedBuffer buffer_;  // one, so that large weights get huge pages
};

}  // namespace octavo
