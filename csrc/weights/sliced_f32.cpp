// SPDX-License-Identifier: Apache-2.0
#include "weights/sliced_f32.h"

#include <algorithm>
#include <cstring>

#include "threads/interrupt.h"

namespace octavo {
namespace {

// A row's share of a block: entries [begin, begin + count) of the compressed rows.
struct Piece {
  std::int64_t begin;
  int count;
  int row;
};

}  // namespace

// Walks compressed rows block by block.
struct SlicedF32::Reader {
  const std::int64_t* indptr;
  const std::int32_t* indices;
  const float* values;
  std::int64_t n;

  // Calls take(first column, pieces, how many) for each block of rows [128 p, 128 p + 128) that
  // holds something; pieces are sorted by count, most first, then by row.
  template <class Take>
  void blocks(std::int64_t p, const Take& take) const {
    interruption_point();
    const std::int64_t first = p * kSparseRows;
    const int rows = static_cast<int>(std::min<std::int64_t>(kSparseRows, n - first));
    std::int64_t at[kSparseRows];
    std::copy(indptr + first, indptr + first + rows, at);
    for (;;) {
      std::int32_t lowest = INT32_MAX;
      for (int r = 0; r < rows; ++r) {
        if (at[r] < indptr[first + r + 1]) lowest = std::min(lowest, indices[at[r]]);
      }
      if (lowest == INT32_MAX) return;
      const std::int32_t column = lowest / kSparseColumns * kSparseColumns;
      Piece pieces[kSparseRows];
      int used = 0;
      for (int r = 0; r < rows; ++r) {
        const std::int64_t begin = at[r], end = indptr[first + r + 1];
        while (at[r] < end && indices[at[r]] - column < kSparseColumns) ++at[r];
        if (at[r] > begin) pieces[used++] = {begin, static_cast<int>(at[r] - begin), r};
      }
      std::stable_sort(pieces, pieces + used,
                       [](const Piece& a, const Piece& b) { return a.count > b.count; });
      take(column, pieces, used);
    }
  }
};

SlicedF32::SlicedF32(const std::int64_t* indptr, const std::int32_t* indices, const float* values,
                     std::int64_t n, std::int64_t k)
    : n_(n), k_(k), nnz_(indptr[n]) {
  const Reader source = {indptr, indices, values, n};
  plan(source);
  counts_ = AlignedBuffer(static_cast<std::size_t>(slices_) * kSparseSlice * 2);
  rows_ = AlignedBuffer(static_cast<std::size_t>(slices_) * kSparseSlice);
  columns_ = AlignedBuffer(static_cast<std::size_t>(entries_));
  values_ = AlignedBuffer(static_cast<std::size_t>(entries_) * sizeof(float));
  fill(source);
}

bool SlicedF32::valid(const std::int64_t* indptr, const std::int32_t* indices, std::int64_t nnz,
                      std::int64_t n, std::int64_t k) {
  if (indptr[0] != 0 || indptr[n] != nnz) return false;
  for (std::int64_t row = 0; row < n; ++row) {
    if (row % kSparseRows == 0) interruption_point();
    if (indptr[row] > indptr[row + 1] || indptr[row + 1] > nnz) return false;
    std::int64_t last = -1;
    for (std::int64_t i = indptr[row]; i < indptr[row + 1]; ++i) {
      if (indices[i] <= last || indices[i] >= k) return false;
      last = indices[i];
    }
  }
  return true;
}

void SlicedF32::plan(const Reader& source) {
  const std::int64_t row_blocks = (n_ + kSparseRows - 1) / kSparseRows;
  first_block_.push_back(0);
  for (std::int64_t p = 0; p < row_blocks; ++p) {
    source.blocks(p, [&](std::int32_t column, const Piece* pieces, int used) {
      const int slices = (used + kSparseSlice - 1) / kSparseSlice;
      blocks_.push_back({entries_, slices_, column, slices});
      slices_ += slices;
      for (int i = 0; i < used; i += kSparseSlice) entries_ += kSparseSlice * pieces[i].count;
    });
    first_block_.push_back(static_cast<std::int64_t>(blocks_.size()));
  }
  blocks_.shrink_to_fit();
}

void SlicedF32::fill(const Reader& source) {
  auto* count = counts_.as<std::uint16_t>();
  auto* row = rows_.as<std::uint8_t>();
  auto* column = columns_.as<std::uint8_t>();
  auto* value = values_.as<float>();
  std::memset(count, 0, counts_.size());
  std::memset(row, 0, rows_.size());
  std::memset(column, 0, columns_.size());
  std::memset(value, 0, values_.size());
  for (std::int64_t p = 0; p < row_blocks(); ++p) {
    source.blocks(p, [&](std::int32_t first_column, const Piece* pieces, int used) {
      for (int i = 0; i < used; i += kSparseSlice) {
        for (int r = 0; r < kSparseSlice && i + r < used; ++r) {
          const Piece& piece = pieces[i + r];
          count[r] = static_cast<std::uint16_t>(piece.count);
          row[r] = static_cast<std::uint8_t>(piece.row);
          for (int j = 0; j < piece.count; ++j) {
            const int column_in = source.indices[piece.begin + j] - first_column;
            column[kSparseSlice * j + r] = static_cast<std::uint8_t>(column_in);
            value[kSparseSlice * j + r] = source.values[piece.begin + j];
          }
        }
        count += kSparseSlice;
        row += kSparseSlice;
        column += kSparseSlice * pieces[i].count;
        value += kSparseSlice * pieces[i].count;
      }
    });
  }
}

void SlicedF32::unpack(std::int64_t* indptr, std::int32_t* indices, float* values) const {
  std::fill(indptr, indptr + n_ + 1, std::int64_t{0});
  const auto each_row = [&](const auto& visit) {
    for (std::int64_t p = 0; p < row_blocks(); ++p) {
      interruption_point();
      for (const Block* block = begin(p); block != end(p); ++block) {
        const SpmmF32Args args = arguments(*block);
        std::int64_t at = 0;
        for (int s = 0; s < args.slices; ++s) {
          const std::uint16_t* count = args.count + kSparseSlice * s;
          for (int r = 0; r < kSparseSlice && count[r] != 0; ++r) {
            const std::int64_t row = p * kSparseRows + args.row[kSparseSlice * s + r];
            visit(row, block->column, count[r], args.column + at + r, args.value + at + r);
          }
          at += kSparseSlice * count[0];
        }
      }
    }
  };
  each_row([&](std::int64_t row, std::int32_t, int count, const std::uint8_t*, const float*) {
    indptr[row + 1] += count;
  });
  for (std::int64_t row = 0; row < n_; ++row) indptr[row + 1] += indptr[row];
  std::vector<std::int64_t> at(indptr, indptr + n_);
  each_row([&](std::int64_t row, std::int32_t first_column, int count, const std::uint8_t* column,
               const float* value) {
    for (int j = 0; j < count; ++j) {
      indices[at[row]] = first_column + column[kSparseSlice * j];
      values[at[row]++] = value[kSparseSlice * j];
    }
  });
}

SpmmF32Args SlicedF32::arguments(const Block& block) const {
  SpmmF32Args args = {};
  args.count = counts_.as<std::uint16_t>() + block.slice * kSparseSlice;
  args.row = rows_.as<std::uint8_t>() + block.slice * kSparseSlice;
  args.column = columns_.as<std::uint8_t>() + block.entry;
  args.value = values_.as<float>() + block.entry;
  args.slices = block.slices;
  return args;
}

std::size_t SlicedF32::nbytes() const {
  return counts_.size() + rows_.size() + columns_.size() + values_.size() +
         blocks_.size() * sizeof(Block) + first_block_.size() * sizeof(std::int64_t);
}

}  // namespace octavo
