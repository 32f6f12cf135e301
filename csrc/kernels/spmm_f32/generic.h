// SPDX-License-Identifier: Apache-2.0
// spmm_f32 over sixteen lanes. A tier's file includes its lanes first, and a gather_slice: the
// products of eight rows with one column of x.
#pragma once
#include "kernels/common/compiler.h"
#include "kernels/common/fused.h"
#include "kernels/spmm_f32/kernel.h"

namespace octavo {
namespace {

// Adds entries [j, end) of one row of a slice; column and value point at its first.
template <int Groups>
static inline void add_entries(const SpmmF32Args& args, const uint8_t* column, const float* value,
                               int j, int end, F16* sum) {
  for (; j < end; ++j) {
    const float* x = args.x + 16 * Groups * column[kSparseSlice * j];
    const F16 factor = set1(value[kSparseSlice * j]);
    OCTAVO_UNROLL
    for (int g = 0; g < Groups; ++g) sum[g] = fma(factor, load(x + 16 * g), sum[g]);
  }
}

// Rows r to r + Rows - 1 of a slice at once. What limits on Zen 3: the two loads a cycle (an x per
// multiplication, and the factor), then the latency of the additions: with four groups one row has
// eight chains of them in flight, with fewer groups it takes two rows to get there. Measured with
// two rows against one: 32 columns 0.97 to 1.07, 16 columns 0.9 to 1.3 times as fast. At 95% zeros,
// 13 entries a row and block, loading and storing the sums shows beside that.
// The loop alone, from L1 and without ends of rows, does 34 G multiply-adds a second; the product
// as a whole 0.5 to 0.6 of what it does at the same time. Of blocks of 64 to 768 columns, tiles of
// 32, and rows one after the other instead of eight side by side, none was more than 13% faster.
template <int Groups, int Rows>
static inline void add_rows(const SpmmF32Args& args, const uint16_t* count, const uint8_t* row,
                            const uint8_t* column, const float* value) {
  F16 sum[Rows][Groups];
  float* out[Rows];
  OCTAVO_UNROLL
  for (int r = 0; r < Rows; ++r) {
    out[r] = args.out + 16 * Groups * row[r];
    OCTAVO_UNROLL
    for (int g = 0; g < Groups; ++g) sum[r][g] = load(out[r] + 16 * g);
  }
  const int common = count[Rows - 1];
  for (int j = 0; j < common; ++j) {
    OCTAVO_UNROLL
    for (int r = 0; r < Rows; ++r) {
      const float* x = args.x + 16 * Groups * column[kSparseSlice * j + r];
      const F16 factor = set1(value[kSparseSlice * j + r]);
      OCTAVO_UNROLL
      for (int g = 0; g < Groups; ++g) sum[r][g] = fma(factor, load(x + 16 * g), sum[r][g]);
    }
  }
  OCTAVO_UNROLL
  for (int r = 0; r < Rows; ++r) {
    add_entries<Groups>(args, column + r, value + r, common, count[r], sum[r]);
    OCTAVO_UNROLL
    for (int g = 0; g < Groups; ++g) store(out[r] + 16 * g, sum[r][g]);
  }
}

template <int Groups, int Rows>
static inline void add_block(const SpmmF32Args& args) {
  const uint8_t* column = args.column;
  const float* value = args.value;
  for (int32_t s = 0; s < args.slices; ++s) {
    const uint16_t* count = args.count + kSparseSlice * s;
    const uint8_t* row = args.row + kSparseSlice * s;
    int r = 0;
    for (; r + Rows <= kSparseSlice && count[r + Rows - 1] != 0; r += Rows) {
      add_rows<Groups, Rows>(args, count + r, row + r, column + r, value + r);
    }
    for (; Rows > 1 && r < kSparseSlice && count[r] != 0; ++r) {
      add_rows<Groups, 1>(args, count + r, row + r, column + r, value + r);
    }
    column += kSparseSlice * count[0];
    value += kSparseSlice * count[0];
  }
}

// m = 1. Sorted rows are about equally long: eight of them advance together, a lane each, and what
// the longer ones have left follows one by one. Within the caches the limit is picking eight places
// of x, 0.35 to 0.4 ns a non-zero on Zen 3 (kernels/spmm_f32/gather_x86.h); 4096 x 4096 streams its
// 5 bytes a non-zero at 11 GB/s of the 15 that memory gives there, so fewer bytes would come next.
static inline void add_vector(const SpmmF32Args& args) {
  const uint8_t* column = args.column;
  const float* value = args.value;
  for (int32_t s = 0; s < args.slices; ++s) {
    const uint16_t* count = args.count + kSparseSlice * s;
    const uint8_t* row = args.row + kSparseSlice * s;
    const int common = count[kSparseSlice - 1];
    float sum[kSparseSlice];
    int rows = 0;
    for (; rows < kSparseSlice && count[rows] != 0; ++rows) sum[rows] = args.out[row[rows]];
    if (common != 0) gather_slice(args.x, column, value, common, sum);
    for (int j = common; j < count[0]; ++j) {
      const int at = kSparseSlice * j;
      for (int r = 0; r < rows && j < count[r]; ++r) {
        sum[r] = fma1(value[at + r], args.x[column[at + r]], sum[r]);
      }
    }
    for (int r = 0; r < rows; ++r) args.out[row[r]] = sum[r];
    column += kSparseSlice * count[0];
    value += kSparseSlice * count[0];
  }
}

// With one register a group, more rows make up for half as many chains: on Zen 5, at 50% zeros,
// 16, 32, 48 columns are 1.35, 1.08, 1.16 times as fast as with the other tiers' numbers. Of 64
// columns, two rows are slower than one.
constexpr bool kWide = kLaneRegisters == 1;

static inline void spmm_generic(const SpmmF32Args& args) {
  switch (args.m) {
    case 1: return add_vector(args);
    case 16: return add_block<1, kWide ? 4 : 2>(args);
    case 32: return add_block<2, kWide ? 4 : 2>(args);
    case 48: return add_block<3, kWide ? 2 : 1>(args);
    default: return add_block<4, 1>(args);
  }
}

}  // namespace
}  // namespace octavo
