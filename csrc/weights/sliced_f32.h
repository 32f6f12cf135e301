// SPDX-License-Identifier: Apache-2.0
// An immutable sparse float32 matrix (rows = outputs) for spmm_f32: blocks of 128 rows by 256
// columns, each as slices of eight rows; kernels/spmm_f32/kernel.h draws a slice.
//
//   rows   0 ..  127 | block, column 0 | block, column 512 | ..     blocks without a non-zero are
//   rows 128 ..  255 | block, column 256 | ..                       left out
//
//   counts, rows      one run over all slices, 8 each      3 bytes a row that a block holds
//   columns, values   one run over all slices, 8 groups    5 bytes a non-zero (and 1-3% of padding)
//
// Why not compressed rows: eight rows side by side are what the product with one vector needs to be
// bound by bytes, and blocks keep the x that a slice reads in L1 or L2. A column takes one byte.
#pragma once
#include <cstdint>
#include <vector>

#include "kernels/spmm_f32/kernel.h"
#include "memory/aligned_buffer.h"

namespace octavo {

class SlicedF32 {
 public:
  struct Block {
    std::int64_t entry;   // of columns and values
    std::int64_t slice;   // of counts and rows, in slices
    std::int32_t column;  // the block's first
    std::int32_t slices;
  };

  static constexpr std::int64_t kMaxSize = INT32_MAX;  // of n and of k

  // Compressed rows as in valid(); they are copied.
  SlicedF32(const std::int64_t* indptr, const std::int32_t* indices, const float* values,
            std::int64_t n, std::int64_t k);

  // Whether indptr (n + 1 values) rises from 0 to nnz and every row's indices (nnz values) rise
  // strictly within [0, k). Reads no index that indptr does not cover.
  static bool valid(const std::int64_t* indptr, const std::int32_t* indices, std::int64_t nnz,
                    std::int64_t n, std::int64_t k);

  // Back again: n + 1, nnz and nnz values.
  void unpack(std::int64_t* indptr, std::int32_t* indices, float* values) const;

  std::int64_t n() const { return n_; }
  std::int64_t k() const { return k_; }
  std::int64_t nnz() const { return nnz_; }
  std::int64_t row_blocks() const { return static_cast<std::int64_t>(first_block_.size()) - 1; }
  // The blocks of rows [128 p, 128 p + 128), columns ascending.
  const Block* begin(std::int64_t p) const { return blocks_.data() + first_block_[p]; }
  const Block* end(std::int64_t p) const { return blocks_.data() + first_block_[p + 1]; }
  // The block as a kernel's argument; x, out and m are left to fill in.
  SpmmF32Args arguments(const Block& block) const;
  std::size_t nbytes() const;

 private:
  struct Reader;
  void plan(const Reader& source);
  void fill(const Reader& source);

  std::int64_t n_, k_, nnz_;
  std::vector<std::int64_t> first_block_;
  std::vector<Block> blocks_;
  std::int64_t entries_ = 0, slices_ = 0;
  AlignedBuffer counts_, rows_, columns_, values_;
};

}  // namespace octavo
