// SPDX-License-Identifier: Apache-2.0
#include "ops/spmm.h"

#include <algorithm>

#include "dispatch/registry.h"
#include "ops/scratch.h"
#include "ops/work_split.h"
#include "threads/interrupt.h"

namespace octavo {
namespace {

// Multiply-adds one thread does in about 5 us, with one column and with tiles of them.
constexpr std::int64_t kVectorWorkPerThread = 12000;
constexpr std::int64_t kTileWorkPerThread = 100000;
// Up to this many columns go one by one: a tile has 16 at least and costs as much as 1.9 to 2.8.
constexpr std::int64_t kVectors = 2;
// Bytes of x that are packed before they are used.
constexpr std::int64_t kChunkBytes = std::int64_t{8} << 20;
constexpr std::int64_t kTile = kSparseTile, kLanes = 16;

// out[i][j] = in[i][j] for rows x columns.
void copy(std::int64_t rows, std::int64_t columns, Strided<const float> in, Strided<float> out) {
  if (in.column_stride == 1 && out.column_stride == 1) {
    for (std::int64_t i = 0; i < rows; ++i) {
      std::copy_n(in.data + i * in.row_stride, columns, out.data + i * out.row_stride);
    }
    return;
  }
  const KernelRow<TransposeF32Args>& kernel = select<TransposeF32Args>(active_isas());
  if (in.row_stride == 1 && out.column_stride == 1) {
    kernel.run({in.data, in.column_stride, columns, rows, out.data, out.row_stride});
  } else if (in.column_stride == 1 && out.row_stride == 1) {
    kernel.run({in.data, in.row_stride, rows, columns, out.data, out.column_stride});
  } else {
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t j = 0; j < columns; ++j) {
        out.data[i * out.row_stride + j * out.column_stride] =
            in.data[i * in.row_stride + j * in.column_stride];
      }
    }
  }
}

// Adds row block p of a times m columns of x to out, whose first row is the block's.
void add_rows(const KernelRow<SpmmF32Args>& kernel, const SlicedF32& a, std::int64_t p,
              std::int64_t m, const float* x, float* out) {
  const std::int64_t blocks_per_question = m == 1 ? 64 : 4;
  for (const SlicedF32::Block* block = a.begin(p); block != a.end(p); ++block) {
    if ((block - a.begin(p) + 1) % blocks_per_question == 0 && interrupted()) return;
    SpmmF32Args args = a.arguments(*block);
    args.x = x + block->column * m;
    args.out = out;
    args.m = static_cast<std::int32_t>(m);
    kernel.run(args);
  }
}

std::int64_t rows_of_block(const SlicedF32& a, std::int64_t p) {
  return std::min<std::int64_t>(kSparseRows, a.n() - p * kSparseRows);
}

void multiply_vector(const KernelRow<SpmmF32Args>& kernel, const SlicedF32& a,
                     Strided<const float> x, Strided<float> out) {
  const int threads = threads_for(a.nnz(), kVectorWorkPerThread);
  auto* memory = reinterpret_cast<float*>(
      scratch(static_cast<std::size_t>(a.k() + threads * kSparseRows) * sizeof(float)));
  const float* vector = x.data;
  if (x.row_stride != 1) {
    float* packed = memory + threads * kSparseRows;
    for (std::int64_t k = 0; k < a.k(); ++k) packed[k] = x.data[k * x.row_stride];
    vector = packed;
  }
  parallel_for(a.row_blocks(), threads, [&](std::int64_t p, int worker) {
    const std::int64_t rows = rows_of_block(a, p);
    float* result = out.data + p * kSparseRows * out.row_stride;
    float* sum = out.row_stride == 1 ? result : memory + worker * kSparseRows;
    std::fill_n(sum, rows, 0.0f);
    add_rows(kernel, a, p, 1, vector, sum);
    for (std::int64_t i = 0; sum != result && i < rows; ++i) result[i * out.row_stride] = sum[i];
  });
}

// Tiles of 64 columns side by side, each (k, 64) in memory; the last may be narrower.
struct Tiles {
  std::int64_t m, k;
  std::int64_t count() const { return ceil_div(m, kTile); }
  std::int64_t columns(std::int64_t t) const { return std::min(kTile, m - t * kTile); }
  std::int64_t width(std::int64_t t) const { return round_up(columns(t), kLanes); }
};

// x's columns as tiles, padded with zeros.
void pack(const Tiles& tiles, int threads, Strided<const float> x, float* packed) {
  const std::int64_t parts = ceil_div(tiles.k, kSparseColumns);
  parallel_for(tiles.count() * parts, threads, [&](std::int64_t task, int) {
    const std::int64_t t = task / parts, k0 = task % parts * kSparseColumns;
    const std::int64_t rows = std::min<std::int64_t>(kSparseColumns, tiles.k - k0);
    const std::int64_t columns = tiles.columns(t), width = tiles.width(t);
    float* out = packed + t * kTile * tiles.k + k0 * width;
    copy(rows, columns,
         {x.data + k0 * x.row_stride + t * kTile * x.column_stride, x.row_stride, x.column_stride},
         {out, width, 1});
    for (std::int64_t i = 0; columns < width && i < rows; ++i) {
      std::fill(out + i * width + columns, out + (i + 1) * width, 0.0f);
    }
  });
}

// One row block times one tile. Sums go to their place at once only if their rows adjoin there:
// with a stride of 2 KB they fall on few sets of L1, and copying them afterwards costs less.
void multiply_tile(const KernelRow<SpmmF32Args>& kernel, const SlicedF32& a, std::int64_t p,
                   std::int64_t width, std::int64_t columns, const float* x, float* sums,
                   Strided<float> out) {
  const std::int64_t rows = rows_of_block(a, p);
  const bool direct = out.column_stride == 1 && out.row_stride == width && columns == width;
  float* sum = direct ? out.data : sums;
  std::fill_n(sum, rows * width, 0.0f);
  add_rows(kernel, a, p, width, x, sum);
  if (!direct) copy(rows, columns, {sums, width, 1}, out);
}

void multiply_tiles(const KernelRow<SpmmF32Args>& kernel, const SlicedF32& a, std::int64_t m,
                    Strided<const float> x, Strided<float> out) {
  const int threads = threads_for(a.nnz() * m, kTileWorkPerThread);
  const Tiles tiles = {m, a.k()};
  // What is one tile already needs no packing.
  const bool whole = m <= kTile && m % kLanes == 0 && x.column_stride == 1 && x.row_stride == m;
  const std::int64_t sums_at = whole ? 0 : tiles.count() * kTile * a.k();
  auto* memory = reinterpret_cast<float*>(
      scratch(static_cast<std::size_t>(sums_at + threads * kSparseRows * kTile) * sizeof(float)));
  if (!whole) pack(tiles, threads, x, memory);
  const float* packed = whole ? x.data : memory;
  parallel_for(tiles.count() * a.row_blocks(), threads, [&](std::int64_t task, int worker) {
    const std::int64_t t = task / a.row_blocks(), p = task % a.row_blocks();
    const Strided<float> result = {
        out.data + p * kSparseRows * out.row_stride + t * kTile * out.column_stride, out.row_stride,
        out.column_stride};
    multiply_tile(kernel, a, p, tiles.width(t), tiles.columns(t), packed + t * kTile * a.k(),
                  memory + sums_at + worker * kSparseRows * kTile, result);
  });
}

}  // namespace

void spmm(const SlicedF32& a, std::int64_t m, Strided<const float> x, Strided<float> out) {
  if (a.n() == 0) return;
  const KernelRow<SpmmF32Args>& kernel = select<SpmmF32Args>(active_isas());
  if (m <= kVectors) {
    for (std::int64_t j = 0; j < m; ++j) {
      multiply_vector(kernel, a, {x.data + j * x.column_stride, x.row_stride, x.column_stride},
                      {out.data + j * out.column_stride, out.row_stride, out.column_stride});
    }
    return;
  }
  const std::int64_t tile_bytes = kTile * static_cast<std::int64_t>(sizeof(float));
  const std::int64_t tiles =
      std::max<std::int64_t>(1, kChunkBytes / std::max(tile_bytes, tile_bytes * a.k()));
  for (std::int64_t j = 0; j < m; j += tiles * kTile) {
    if (j > 0) interruption_point();
    multiply_tiles(kernel, a, std::min(m - j, tiles * kTile),
                   {x.data + j * x.column_stride, x.row_stride, x.column_stride},
                   {out.data + j * out.column_stride, out.row_stride, out.column_stride});
  }
}

}  // namespace octavo
