// SPDX-License-Identifier: Apache-2.0
// A sparse int8 weight as one bit per position and the codes that are not zero: the operand of
// expand_s8 and gemm_bitmap_s8. kernels/expand_s8/kernel.h draws the order of bits and values,
// which is that of DenseWeight. One layout serves all tiers.
//
//   | mask: groups x panels | first_value: (blocks + 1) x panels | col_sum: n | value | slack: 64 |
//       8 bytes each            4 bytes each                       4 each       1 each
//
// k is padded with zeros to groups of 4, n to panels of 16; a block is 64 groups of a panel, so
// that work can start at any panel and at any 256th k. The slack is zero: 64 bytes may be read from
// the end of the last value.
//
// Bytes per position: 1/8 for the bit, 1 per code that is not zero, 1/1024 for the blocks.
#pragma once
#include <cstdint>

#include "kernels/expand_s8/kernel.h"
#include "weights/formats.h"
#include "weights/weight.h"

namespace octavo {

class BitmapWeight final : public Weight {
 public:
  static constexpr int kBlockGroups = BitmapPanels::kBlockGroups;

  // codes: (n, k) row-major. Throws std::length_error where values cannot be counted in 32 bits.
  BitmapWeight(const std::int8_t* codes, std::int64_t n, std::int64_t k);
  BitmapWeight(AlignedBuffer packed, std::int64_t n, std::int64_t k);
  static FormatCost cost(const std::int8_t* codes, std::int64_t n, std::int64_t k, IsaMask mask);

  std::int64_t non_zeros() const { return non_zeros_; }
  // From panel p and block `block` of groups on.
  BitmapPanels stretch(std::int64_t p, std::int64_t panels, std::int64_t block = 0) const;
  const std::int32_t* col_sum() const override { return at<std::int32_t>(offsets().col_sum); }

  void unpack(std::int8_t* out) const override;

  // Few rows by gemm_bitmap_s8 where the tier has one; else parts of the weight are expanded for
  // the gemm_s8 kernel that suits m.
  Schedule schedule(std::int64_t m, IsaMask mask) const override;
  void multiply(const Schedule& schedule, const CodeBlock& block, std::int64_t rows, std::int64_t p,
                std::int64_t panels, std::int32_t* sums, std::int64_t stride) const override;

 private:
  static constexpr std::int64_t kSlack = 64;
  struct Offsets {
    std::int64_t first_value, col_sum, value, end;
  };
  static Offsets offsets_for(std::int64_t n, std::int64_t k, std::int64_t non_zeros);
  Offsets offsets() const { return offsets_for(n(), k(), non_zeros_); }
  std::int64_t blocks() const { return ceil_div(k_groups(), kBlockGroups); }
  void check_panel(std::int64_t p, std::int64_t* at) const;
  // Writes panel p from value `at` on; the end of its values.
  std::int64_t pack_panel(const std::int8_t* codes, std::int64_t p, std::int64_t at);
  void expand_part(const Schedule& schedule, const CodeBlock& block, std::int64_t rows,
                   std::int64_t p, std::int64_t panels, std::int64_t part, std::int32_t* sums,
                   std::int64_t stride) const;

  std::int64_t non_zeros_;
};

}  // namespace octavo
