// SPDX-License-Identifier: Apache-2.0
// Kernel family spmm_f32: adds one block of a sparse float32 matrix times m columns of x to out.
//
//   out[row][j] = out[row][j] + value * x[column][j]     0 <= j < m, for each non-zero of the block
//
// A block is at most kSparseRows rows by kSparseColumns columns, so that a row and a column are a
// byte each and 64 columns of its x, 64 KB, stay in L2 (128 or 192 columns: within 10% on Zen 3).
// Rows that hold something are sorted by how much, most first, and cut into slices of eight; a
// slice is as long as its first row:
//
//   count   | c0 c1 .. c7 |  uint16: non-zeros of each row, c0 >= c1 >= .. ; 0 = no such row
//   row     | r0 r1 .. r7 |  uint8
//   column  | row r0's first, r1's first, .. r7's first | row r0's second, .. |   c0 groups of 8,
//   value   | row r0's first, r1's first, .. r7's first | row r0's second, .. |   uint8 and float32
//
// Columns ascend along a row. Entries behind a row's end are padding and take no part, so what is
// infinite or NaN in x meets stored values only.
//
// Order: a row's products are added one after the other, columns ascending, each by one fused
// multiply-add, rounded once. Blocks are given columns ascending and out starts at +0: so all
// kernels, and all m, give the same bits. For a row with c non-zeros, with u = 2^-24,
//
//   |out - exact| <= ((1 + u)^c - 1) * sum of |value * x|   (no overflow, no subnormal sum)
//
// m is 1, or a multiple of 16 up to kSparseTile. Rows of x and of out adjoin. All arrays may end at
// their last element; none needs an alignment.
#pragma once
#include <stdint.h>

namespace octavo {

constexpr int kSparseRows = 128;
constexpr int kSparseColumns = 256;
constexpr int kSparseSlice = 8;
constexpr int kSparseTile = 64;

struct SpmmF32Args {
  const uint16_t* count;
  const uint8_t* row;
  const uint8_t* column;
  const float* value;
  int32_t slices;
  const float* x;  // (columns, m)
  float* out;      // (rows, m)
  int32_t m;
};

}  // namespace octavo
