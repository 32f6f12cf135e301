// SPDX-License-Identifier: Apache-2.0
// An int8 weight of which whole blocks of R outputs by C inputs are zero: block-sparse rows, as
// scipy's bsr_array, for the blocks 16x4, 1x4, 4x1 and 1x1 (which is compressed sparse rows). A
// block row is R neighbouring outputs; a block is left out where all of it is zero, so that any
// mask can be held, and blocks of (i R) x (j C) weights, at multiples of these, leave out all that
// they make zero. One layout serves all tiers.
//
//   | code          | first            | paired       | negative_sum | col_sum | index          |
//     bytes x units   block rows         as many,       16 x panels    n         4 / C x units
//                     x parts + 1        or none
//     1 byte each     4 bytes each       4              4              4         2
//
// Kernels take a unit at once, which is 4 inputs of each output: one block where C is 4, four
// blocks where C is 1. So a unit has 4 R bytes (block after block within each output, as the
// kernels' headers draw them), and as many column indexes, in blocks, as it has blocks; the last
// unit of a block row is filled up with zeros that share an index.
//
//   block   kernel family         bytes of a unit   indexes   pairs   inputs of a part
//   16x4    gemm_bsr16x4_s8       64                1         no      all
//   1x4     broadcast_bsr1x4_s8   4                 1         yes     all
//   4x1     broadcast_bsr4x1_s8   16                4         yes     4096
//   1x1     broadcast_bsr4x1_s8   4                 4         no      768
//
// k is padded with zeros to groups of 4, n to panels of 16 columns. Where inputs come in parts, so
// that a tile's share of one stays in L1 (24 KB for 32 rows of 768; block rows of 4 outputs read a
// tile a fourth as often), each part has units of its own, part by part and block row by block row.
// Pairs: along k each unit is put beside the next where their products may be added in int16; those
// left over come last.
//
// Bytes per weight of a block that is there: 1.03, 1.5, 1.5 and 3.
#pragma once
#include <algorithm>
#include <cstdint>

#include "kernels/broadcast_bsr1x4_s8/kernel.h"
#include "kernels/broadcast_bsr4x1_s8/kernel.h"
#include "kernels/gemm_bsr16x4_s8/kernel.h"
#include "weights/formats.h"
#include "weights/weight.h"

namespace octavo {

template <int R, int C>
class BsrWeight final : public Weight {
 public:
  static constexpr int kUnitBlocks = kGroup / C;
  static constexpr int kUnitBytes = kGroup * R;
  static constexpr bool kPairs = R * C == 4;
  static constexpr std::int64_t kPartInputs = C != 1 ? INT64_MAX : R == 1 ? 768 : 4096;

  // codes: (n, k) row-major; column indexes have 16 bits. Throws std::length_error
  // where units cannot be counted in 32 bits.
  BsrWeight(const std::int8_t* codes, std::int64_t n, std::int64_t k);
  BsrWeight(AlignedBuffer packed, std::int64_t n, std::int64_t k);
  static FormatCost cost(const std::int8_t* codes, std::int64_t n, std::int64_t k, IsaMask mask);

  std::int64_t block_rows() const { return panels() * (kPanelWidth / R); }
  std::int64_t parts() const { return parts_of(k()); }
  std::int64_t units() const { return units_; }
  // Tiles of 16 groups in which there is a block of 16x4.
  std::int64_t tiles() const { return tiles_; }
  const std::int32_t* col_sum() const override { return at<std::int32_t>(offsets().col_sum); }
  void unpack(std::int8_t* out) const override;

  // From panel p on, in one part.
  BsrPanels stretch(std::int64_t p, std::int64_t panels, std::int64_t part = 0) const;

  Schedule schedule(std::int64_t m, IsaMask mask) const override;
  void prepare(const Schedule& schedule, const CodeBlock& block, std::int64_t rows,
               std::int64_t begin, std::int64_t end) const override;
  void multiply(const Schedule& schedule, const CodeBlock& block, std::int64_t rows, std::int64_t p,
                std::int64_t panels, std::int32_t* sums, std::int64_t stride) const override;

 private:
  struct Offsets {
    std::int64_t first, paired, negative_sum, col_sum, index, end;
  };
  struct Count {
    std::int64_t units, tiles;
  };
  static std::int64_t parts_of(std::int64_t k) {
    return std::max<std::int64_t>(1, ceil_div(k, kPartInputs));
  }
  static Count count(const std::int8_t* codes, std::int64_t n, std::int64_t k);
  static Offsets offsets_for(std::int64_t n, std::int64_t k, std::int64_t units);
  Offsets offsets() const { return offsets_for(n(), k(), units_); }
  // Checks the units of a list, and counts their tiles.
  void check_units(std::int64_t list);

  std::int64_t units_ = 0, tiles_ = 0;
};

extern template class BsrWeight<16, 4>;
extern template class BsrWeight<1, 4>;
extern template class BsrWeight<4, 1>;
extern template class BsrWeight<1, 1>;
using Bsr16x4 = BsrWeight<16, 4>;
using Bsr1x4 = BsrWeight<1, 4>;
using Bsr4x1 = BsrWeight<4, 1>;
using Bsr1x1 = BsrWeight<1, 1>;

}  // namespace octavo
