// SPDX-License-Identifier: Apache-2.0
// An int8 weight of which whole blocks are zero: the operand of gemm_blocks_s8, whose kernel.h
// draws a block. One layout serves all tiers.
//
//   | code: 64 x blocks | first_block: panels + 1 | negative_sum: 16 x panels | col_sum: n | group
//   |
//                           4 bytes each              4 each                    4 each    2 a block
//
// k is padded with zeros to groups of 4, n to panels of 16. A block of 16 columns by 4 along k is
// left out where all of it is zero, so that any mask can be held; blocks of (16 i) x (4 j) weights,
// at multiples of these, leave out all that they make zero. Tiles of 16 blocks serve AMX.
//
// Bytes per position of a block that is there: 66 / 64.
#pragma once
#include <cstdint>

#include "kernels/gemm_blocks_s8/kernel.h"
#include "layout/aligned_buffer.h"

namespace octavo {

class PackedBlocks {
 public:
  static constexpr int kPanelWidth = 16;
  static constexpr int kGroup = 4;
  static constexpr std::int64_t kMaxK = 65536 * kGroup;  // groups have 16 bits

  // codes: (n, k) row-major, all above -128; k at most kMaxK. Throws std::length_error where blocks
  // cannot be counted in 32 bits.
  PackedBlocks(const std::int8_t* codes, std::int64_t n, std::int64_t k);

  std::int64_t n() const { return n_; }
  std::int64_t k() const { return k_; }
  std::int64_t panels() const { return (n_ + kPanelWidth - 1) / kPanelWidth; }
  std::int64_t blocks() const { return blocks_; }
  // Tiles of 16 groups in which there is a block.
  std::int64_t tiles() const { return tiles_; }
  BlockPanels stretch(std::int64_t p, std::int64_t panels) const;
  // One int32 (modulo 2^32) per column.
  const std::int32_t* col_sum() const { return part<std::int32_t>(offsets().col_sum); }
  std::size_t nbytes() const { return buffer_.size(); }

  // Row-major (n, k) codes, as given to the constructor.
  void unpack(std::int8_t* out) const;

 private:
  struct Offsets {
    std::int64_t first_block, negative_sum, col_sum, group, end;
  };
  Offsets offsets() const;
  template <class T>
  T* part(std::int64_t offset) const {
    return reinterpret_cast<T*>(buffer_.as<std::uint8_t>() + offset);
  }

  std::int64_t n_, k_, blocks_, tiles_;
  AlignedBuffer buffer_;  // one, so that large weights get huge pages
};

}  // namespace octavo
