// SPDX-License-Identifier: Apache-2.0
#include "weights/bsr.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <utility>
#include <vector>

#include "threads/interrupt.h"
#include "weights/byte_tile.h"
#include "weights/column_sums.h"
#include "weights/pairs.h"

namespace octavo {
namespace {

// Codes of the rows that read a panel of 16x4 together. They are read at the places of its blocks,
// so they should lie in L1; the blocks, one after another, come from L2 as fast as they are needed.
constexpr std::int64_t kCodeBytes = 24576;

// Rows of codes: `outputs` of a block row, of k inputs each.
struct BlockRow {
  const std::int8_t* codes;
  std::int64_t outputs, k;
};

template <int R>
BlockRow block_row(const std::int8_t* codes, std::int64_t n, std::int64_t k, std::int64_t s) {
  return {codes + R * s * k, std::min<std::int64_t>(R, n - R * s), k};
}

// Calls visit(input, width) for each block of C inputs within [begin, end) that is not all zero.
template <int C, class Visit>
void for_each_block(const BlockRow& row, std::int64_t begin, std::int64_t end, Visit visit) {
  for (std::int64_t i = begin; i < end; i += C) {
    const std::int64_t width = std::min<std::int64_t>(C, end - i);
    int any = 0;
    for (std::int64_t j = 0; j < row.outputs; ++j) {
      for (std::int64_t c = 0; c < width; ++c) any |= row.codes[j * row.k + i + c];
    }
    if (any != 0) visit(i, width);
  }
}

template <int R, int C>
struct Unit {
  std::int8_t code[R][4];  // of the outputs of a block row; zeros behind them
  std::uint16_t index[4 / C];
};

// The units of a block row for inputs [begin, end), their indexes ascending.
template <int R, int C>
void find_units(const BlockRow& row, std::int64_t begin, std::int64_t end,
                std::vector<Unit<R, C>>& found) {
  found.clear();
  int blocks = 4 / C;  // of the last unit
  for_each_block<C>(row, begin, end, [&](std::int64_t i, std::int64_t width) {
    if (blocks == 4 / C) {
      found.push_back({});
      blocks = 0;
    }
    Unit<R, C>& unit = found.back();
    // Those that no block takes share its index.
    std::fill(unit.index + blocks, unit.index + 4 / C, static_cast<std::uint16_t>(i / C));
    for (std::int64_t j = 0; j < row.outputs; ++j) {
      std::memcpy(unit.code[j] + C * blocks, row.codes + j * row.k + i,
                  static_cast<std::size_t>(width));
    }
    ++blocks;
  });
}

template <int R, int C>
bool fit(const Unit<R, C>& a, const Unit<R, C>& b) {
  const auto magnitude = [](const std::int8_t* code) {
    return std::abs(code[0]) + std::abs(code[1]);
  };
  for (int j = 0; j < R; ++j) {
    const std::int8_t *x = a.code[j], *y = b.code[j];
    if (magnitude(x) + magnitude(y) > 255 || magnitude(x + 2) + magnitude(y + 2) > 255) {
      return false;
    }
  }
  return true;
}

bool worth_broadcasting(const BroadcastBsr4x1S8Row& kernel, int outputs, std::int64_t rows) {
  return rows >= (outputs == 1 ? kernel.ones_rows : kernel.fours_rows);
}

// Whether the best kernel of the mask multiplies whole tiles of 16 blocks.
bool reads_tiles(IsaMask mask) {
  for (const GemmBsr16x4S8Row& row : kernel_rows<GemmBsr16x4S8Args>()) {
    if (mask & bit(row.isa)) return row.min_fill > 0;
  }
  return false;
}

}  // namespace

template <int R, int C>
typename BsrWeight<R, C>::Count BsrWeight<R, C>::count(const std::int8_t* codes, std::int64_t n,
                                                       std::int64_t k) {
  Count found = {0, 0};
  for (std::int64_t part = 0; part < parts_of(k); ++part) {
    const std::int64_t begin = part == 0 ? 0 : kPartInputs * part;
    const std::int64_t end = begin + std::min(kPartInputs, k - begin);
    for (std::int64_t s = 0; R * s < n; ++s) {
      if (s % 16 == 0) interruption_point();
      std::int64_t blocks = 0, tile = -1;
      for_each_block<C>(block_row<R>(codes, n, k, s), begin, end,
                        [&](std::int64_t i, std::int64_t) {
                          ++blocks;
                          found.tiles += i / C / BsrPanels::kTileGroups != tile;
                          tile = i / C / BsrPanels::kTileGroups;
                        });
      found.units += ceil_div(blocks, kUnitBlocks);
    }
  }
  return found;
}

template <int R, int C>
typename BsrWeight<R, C>::Offsets BsrWeight<R, C>::offsets_for(std::int64_t n, std::int64_t k,
                                                               std::int64_t units) {
  const std::int64_t columns = round_up(n, kPanelWidth), lists = columns / R * parts_of(k);
  Offsets to;
  to.first = kUnitBytes * units;
  to.paired = to.first + 4 * (lists + 1);
  to.negative_sum = to.paired + (kPairs ? 4 * lists : 0);
  to.col_sum = to.negative_sum + 4 * columns;
  to.index = to.col_sum + 4 * n;
  to.end = to.index + 2 * kUnitBlocks * units;
  return to;
}

template <int R, int C>
FormatCost BsrWeight<R, C>::cost(const std::int8_t* codes, std::int64_t n, std::int64_t k,
                                 IsaMask mask) {
  const Count found = count(codes, n, k);
  const std::int64_t bytes = offsets_for(n, k, found.units).end - 4 * n;
  if (R == 16 && reads_tiles(mask)) return {BsrPanels::kTileGroups * found.tiles, bytes};
  return {ceil_div(found.units * kUnitBytes, kPanelWidth * kGroup), bytes};
}

template <int R, int C>
BsrWeight<R, C>::BsrWeight(const std::int8_t* codes, std::int64_t n, std::int64_t k)
    : Weight(n, k) {
  const Count found = count(codes, n, k);
  units_ = found.units;
  tiles_ = found.tiles;
  if (units_ > std::numeric_limits<std::uint32_t>::max()) {
    throw std::length_error("codes: more than 2**32 - 1 blocks that are not zero");
  }
  packed_ = AlignedBuffer(static_cast<std::size_t>(offsets().end));
  auto* first = at<std::uint32_t>(offsets().first);
  auto* paired = at<std::uint32_t>(offsets().paired);
  auto* index = at<std::uint16_t>(offsets().index);
  auto* code = at<std::int8_t>(0);
  if (kPairs) std::fill_n(paired, block_rows() * parts(), 0u);
  std::vector<Unit<R, C>> units, left_over;
  std::int64_t t = 0;
  for (std::int64_t list = 0; list < block_rows() * parts(); ++list) {
    if (list % 16 == 0) interruption_point();
    *first++ = static_cast<std::uint32_t>(t);
    const std::int64_t s = list % block_rows(), part = list / block_rows();
    if (R * s >= n) continue;
    const std::int64_t begin = part == 0 ? 0 : kPartInputs * part;
    find_units(block_row<R>(codes, n, k, s), begin, begin + std::min(kPartInputs, k - begin),
               units);
    if (kPairs) {
      paired[list] = static_cast<std::uint32_t>(put_pairs_first(units, left_over, fit<R, C>));
    }
    for (const Unit<R, C>& unit : units) {
      std::memcpy(code + kUnitBytes * t, unit.code, sizeof unit.code);
      std::memcpy(index + kUnitBlocks * t++, unit.index, sizeof unit.index);
    }
  }
  *first = static_cast<std::uint32_t>(t);
  auto* negative_sum = at<std::int32_t>(offsets().negative_sum);
  std::fill_n(negative_sum, kPanelWidth * panels(), 0);
  sum_columns(codes, n, k, at<std::int32_t>(offsets().col_sum), negative_sum);
}

template <int R, int C>
BsrWeight<R, C>::BsrWeight(AlignedBuffer packed, std::int64_t n, std::int64_t k)
    : Weight(n, k, std::move(packed)) {
  const std::int64_t rest = static_cast<std::int64_t>(nbytes()) - offsets_for(n, k, 0).end;
  units_ = rest / (kUnitBytes + 2 * kUnitBlocks);
  require(rest >= 0 && rest == units_ * (kUnitBytes + 2 * kUnitBlocks) &&
              units_ <= std::numeric_limits<std::uint32_t>::max(),
          "packed: expected as many bytes as whole blocks of this shape have");
  const std::int64_t lists = block_rows() * parts();
  const auto* first = at<std::uint32_t>(offsets().first);
  require(first[0] == 0 && first[lists] == units_ && std::is_sorted(first, first + lists + 1),
          "packed: expected block rows that follow one another");
  for (std::int64_t list = 0; list < lists; ++list) {
    if (list % 16 == 0) interruption_point();
    check_units(list);
  }
}

template <int R, int C>
void BsrWeight<R, C>::check_units(std::int64_t list) {
  const std::int64_t row = R * (list % block_rows());
  const auto* first = at<std::uint32_t>(offsets().first) + list;
  if (kPairs) {
    const std::uint32_t paired = at<std::uint32_t>(offsets().paired)[list];
    require(paired % 2 == 0 && paired <= first[1] - first[0],
            "packed: expected pairs within their block rows");
  }
  std::int64_t tile = -1;
  for (std::int64_t t = first[0]; t < first[1]; ++t) {
    const auto* index = at<std::uint16_t>(offsets().index) + kUnitBlocks * t;
    const auto* code = at<std::int8_t>(kUnitBytes * t);
    for (std::int64_t i = 0; i < kUnitBytes; ++i) {
      const std::int64_t output = row + i / kGroup, block = index[i % kGroup / C];
      const std::int64_t input = C * block + i % C;
      require(C * block < k() && (code[i] == 0 || (output < n() && input < k())),
              "packed: expected blocks within the weight");
    }
    tiles_ += index[0] / BsrPanels::kTileGroups != tile;
    tile = index[0] / BsrPanels::kTileGroups;
  }
}

template <int R, int C>
BsrPanels BsrWeight<R, C>::stretch(std::int64_t p, std::int64_t panels, std::int64_t part) const {
  const Offsets to = offsets();
  const std::int64_t list = block_rows() * part + kPanelWidth / R * p;
  BsrPanels b;
  b.first = at<std::uint32_t>(to.first) + list;
  b.paired = kPairs ? at<std::uint32_t>(to.paired) + list : nullptr;
  b.negative_sum = at<std::int32_t>(to.negative_sum) + kPanelWidth * p;
  b.index = at<std::uint16_t>(to.index);
  b.code = at<std::int8_t>(0);
  b.panels = static_cast<std::int32_t>(panels);
  b.outputs = R;
  return b;
}

template <int R, int C>
void BsrWeight<R, C>::unpack(std::int8_t* out) const {
  std::fill(out, out + n() * k(), std::int8_t{0});
  const auto* first = at<std::uint32_t>(offsets().first);
  const auto* index = at<std::uint16_t>(offsets().index);
  const auto* code = at<std::int8_t>(0);
  for (std::int64_t list = 0; list < block_rows() * parts(); ++list) {
    if (list % 16 == 0) interruption_point();
    const std::int64_t row = R * (list % block_rows());
    for (std::int64_t t = first[list]; t < first[list + 1]; ++t) {
      for (std::int64_t j = 0; j < std::min<std::int64_t>(R, n() - row); ++j) {
        for (std::int64_t i = 0; i < kGroup; ++i) {
          // What fills up a unit, or stands for inputs behind k, is zero.
          const std::int8_t value = code[kUnitBytes * t + kGroup * j + i];
          const std::int64_t column = C * index[kUnitBlocks * t + i / C] + i % C;
          if (value != 0) out[(row + j) * k() + column] = value;
        }
      }
    }
  }
}

template <int R, int C>
Schedule BsrWeight<R, C>::schedule(std::int64_t m, IsaMask mask) const {
  Schedule schedule = {};
  schedule.rows = m;
  schedule.mask = mask;
  schedule.work = kUnitBytes * units_;
  schedule.panels_at_once = panels();
  if constexpr (R == 16) {
    const GemmBsr16x4S8Row& kernel = select<GemmBsr16x4S8Args>(mask, m, units_, tiles_);
    schedule.form = kernel.form;
    schedule.row_unit = std::max(kernel.mr, kernel.m_align);
    const std::int64_t fitting = kCodeBytes / padded_k(k());
    schedule.block_rows =
        std::max(schedule.row_unit, fitting / schedule.row_unit * schedule.row_unit);
    schedule.scratch_bytes = kernel.scratch_bytes;
  } else if constexpr (C == 4) {
    const BroadcastBsr1x4S8Row& kernel = select<BroadcastBsr1x4S8Args>(mask);
    schedule.form = kernel.form;
    schedule.row_unit = kernel.lanes;
    schedule.block_rows = kernel.most_rows;
    schedule.fill_unit = 8;
    schedule.tile_bytes = kernel.most_rows * padded_k(k());
  } else {
    const BroadcastBsr4x1S8Row& kernel = select<BroadcastBsr4x1S8Args>(mask);
    schedule.form = kernel.form;
    schedule.row_unit = 1;
    schedule.block_rows = kernel.most_rows;
    schedule.fill_unit = 8;
    schedule.tile_bytes = worth_broadcasting(kernel, R, m) ? kernel.most_rows * padded_k(k()) : 0;
    schedule.even_blocks = false;  // more than half a tile costs as much as a whole one
  }
  return schedule;
}

template <int R, int C>
void BsrWeight<R, C>::prepare(const Schedule& schedule, const CodeBlock& block, std::int64_t rows,
                              std::int64_t begin, std::int64_t end) const {
  if (begin == end || k() == 0) return;
  if constexpr (R != 16 && C == 4) {
    // Four codes are moved as if they were a float: transpose_f32 keeps bits.
    TransposeF32Args args;
    args.x = reinterpret_cast<const float*>(block.codes + begin * block.stride);
    args.x_stride = block.stride / kGroup;
    args.rows = end - begin;
    args.columns = padded_k(k()) / kGroup;
    args.out = reinterpret_cast<float*>(block.tile) + begin;
    args.out_stride = round_up(rows, schedule.row_unit);
    select<TransposeF32Args>(schedule.mask).run(args);
  } else if constexpr (C == 1) {
    const BroadcastBsr4x1S8Row& kernel = select<BroadcastBsr4x1S8Args>(schedule.mask);
    if (!worth_broadcasting(kernel, R, rows)) return;
    fill_byte_tile(schedule.mask, block, kernel.most_rows, begin, end, k());
  }
}

template <int R, int C>
void BsrWeight<R, C>::multiply(const Schedule& schedule, const CodeBlock& block, std::int64_t rows,
                               std::int64_t p, std::int64_t panels, std::int32_t* sums,
                               std::int64_t stride) const {
  const auto m = static_cast<std::int32_t>(rows);
  if constexpr (R == 16) {
    select<GemmBsr16x4S8Args>(schedule.mask, schedule.rows, units_, tiles_)
        .run({stretch(p, panels), block.codes, block.stride, sums, stride, m, block.scratch});
  } else if constexpr (C == 4) {
    select<BroadcastBsr1x4S8Args>(schedule.mask)
        .run({stretch(p, panels), block.tile, sums, stride, m});
  } else {
    const BroadcastBsr4x1S8Row& kernel = select<BroadcastBsr4x1S8Args>(schedule.mask);
    for (std::int64_t part = 0; part < parts(); ++part) {
      const BsrPanels b = stretch(p, panels, part);
      if (worth_broadcasting(kernel, R, rows)) {
        kernel.run({b, block.tile, kernel.most_rows, sums, stride, m, part > 0});
        continue;
      }
      for (std::int64_t i = 0; i < rows; ++i) {
        const std::uint8_t* codes = block.codes + i * block.stride;
        kernel.run({b, codes, 1, sums + i * stride, stride, 1, part > 0});
      }
    }
  }
}

template class BsrWeight<16, 4>;
template class BsrWeight<1, 4>;
template class BsrWeight<4, 1>;
template class BsrWeight<1, 1>;

}  // namespace octavo
