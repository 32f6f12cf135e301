// SPDX-License-Identifier: Apache-2.0
// An int8 weight of which whole quads (1 output by 4 inputs) are zero: the operand of
// spread_quads_s8, whose kernel.h draws a quad. One layout serves all tiers.
//
//   | code        | first_quad          | paired      | negative_sum | col_sum | group     |
//     4 x quads     16 x panels + 1       16 x panels   16 x panels    n         quads
//     1 byte each   4 bytes each          4             4              4         2
//
// k is padded with zeros to groups of 4, n to panels of 16 columns. A quad is left out where all of
// it is zero, so that any mask can be held; blocks of i x (4 j) weights, at multiples of these,
// leave out all that they make zero. Along k, each quad is paired with the next where they fit;
// those left over come last.
//
// Bytes per position of a quad that is there: 6 / 4.
#pragma once
#include <cstdint>

#include "kernels/spread_quads_s8/kernel.h"
#include "layout/aligned_buffer.h"

namespace octavo {

class PackedQuads {
 public:
  static constexpr int kPanelWidth = 16;
  static constexpr int kGroup = 4;
  static constexpr std::int64_t kMaxK = 65536 * kGroup;  // groups have 16 bits

  // codes: (n, k) row-major, all above -128; k at most kMaxK. Throws std::length_error where quads
  // cannot be counted in 32 bits.
  PackedQuads(const std::int8_t* codes, std::int64_t n, std::int64_t k);

  std::int64_t n() const { return n_; }
  std::int64_t k() const { return k_; }
  std::int64_t panels() const { return (n_ + kPanelWidth - 1) / kPanelWidth; }
  std::int64_t quads() const { return quads_; }
  QuadPanels stretch(std::int64_t p, std::int64_t panels) const;
  // One int32 (modulo 2^32) per column.
  const std::int32_t* col_sum() const { return part<std::int32_t>(offsets().col_sum); }
  std::size_t nbytes() const { return buffer_.size(); }

  // Row-major (n, k) codes, as given to the constructor.
  void unpack(std::int8_t* out) const;

 private:
  struct Offsets {
    std::int64_t first_quad, paired, negative_sum, col_sum, group, end;
  };
  Offsets offsets() const;
  template <class T>
  T* part(std::int64_t offset) const {
    return reinterpret_cast<T*>(buffer_.as<std::uint8_t>() + offset);
  }

  std::int64_t n_, k_, quads_;
  AlignedBuffer buffer_;  // one, so that large weights get huge pages
};

}  // namespace octavo
