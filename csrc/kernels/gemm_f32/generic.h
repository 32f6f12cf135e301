// SPDX-License-Identifier: Apache-2.0
// gemm_f32 over sixteen lanes; a tier's file includes its lanes first.
#pragma once
#include "kernels/common/compiler.h"
#include "kernels/gemm_f32/kernel.h"

namespace octavo {
namespace {

// Registers of sums: 24 of 32 (12 rows of two panels of zmm, 6 of one of NEON), 12 of 16 ymm (6
// rows of one). Two multiply-adds a cycle take four cycles each, so that 8 sums would do; with
// more, fewer loads are needed for each. Few rows take more panels: one row eight of zmm, four of
// the others.
constexpr int kSums = kRegisters == 32 ? 24 : 12;
constexpr int kMostRows = kLaneRegisters == 1 ? 12 : kSums / kLaneRegisters;
constexpr int kMostPanels = 8;
// Lines of panels that come before they are needed: 512 KiB, a part of L2.
constexpr int kFarthest = 8192;

// `ahead` leads to Ahead panels, of which a line for every k is brought into L2.
template <int Rows, int Panels, int Ahead>
static inline void block(const GemmF32Args& args, int m0, int p, const float* ahead) {
  const float* x = args.x + m0 * args.x_stride;
  const float* w = args.w + p * args.w_panel_stride;
  float* c = args.c + m0 * args.c_stride + 16 * p;
  F16 sum[Rows][Panels];
  OCTAVO_UNROLL
  for (int i = 0; i < Rows * Panels; ++i) {
    const float* from = c + i / Panels * args.c_stride + 16 * (i % Panels);
    sum[i / Panels][i % Panels] = args.accumulate ? load(from) : set1(0.0f);
  }
  for (int64_t k = 0; k < args.k; ++k) {
    OCTAVO_UNROLL
    for (int j = 0; j < Ahead; ++j) OCTAVO_PREFETCH(ahead + j * args.w_panel_stride + 16 * k);
    F16 b[Panels];
    OCTAVO_UNROLL
    for (int j = 0; j < Panels; ++j) b[j] = load(w + j * args.w_panel_stride + 16 * k);
    OCTAVO_UNROLL
    for (int i = 0; i < Rows; ++i) {
      const F16 factor = set1(x[i * args.x_stride + k]);
      OCTAVO_UNROLL
      for (int j = 0; j < Panels; ++j) sum[i][j] = fma(factor, b[j], sum[i][j]);
    }
  }
  OCTAVO_UNROLL
  for (int i = 0; i < Rows * Panels; ++i) {
    store(c + i / Panels * args.c_stride + 16 * (i % Panels), sum[i / Panels][i % Panels]);
  }
}

// The block of as many rows, at least Least; none is larger than the registers allow.
template <int Panels, int Ahead, int Least, int Rows = kMostRows>
static inline void some_rows(const GemmF32Args& args, int m0, int rows, int p, const float* ahead) {
  if constexpr (Rows * Panels * kLaneRegisters <= kSums) {
    if (rows == Rows) return block<Rows, Panels, Ahead>(args, m0, p, ahead);
  }
  if constexpr (Rows > Least) some_rows<Panels, Ahead, Least, Rows - 1>(args, m0, rows, p, ahead);
}

// All rows with some panels, in blocks of about equally many rows. Meanwhile the next panels come
// into L2, one with each of the first blocks, or all with a block that is alone; four panels at
// once keep memory busy as they are. They lie behind, in this weight or in none. With weights in
// memory (384 x 384, Zen 5) 8 rows become 1.9, 16 rows 1.8 and 128 rows 1.1 times as fast.
template <int Panels>
static inline void columns(const GemmF32Args& args, int blocks, int p) {
  const float* w = args.w + p * args.w_panel_stride;
  if (blocks == 1) {
    constexpr int kAhead = Panels < 4 ? Panels : 0;
    const bool near = Panels * args.k <= kFarthest;
    some_rows<Panels, kAhead, 1>(args, 0, args.m, p, near ? w + Panels * args.w_panel_stride : w);
    return;
  }
  constexpr int kLeast = (kMostRows + 1) / 2;
  for (int i = 0; i < blocks; ++i) {
    const int m0 = (int)((int64_t)args.m * i / blocks);
    const int64_t next = i < Panels ? Panels + i : 0;
    some_rows<Panels, 1, kLeast>(args, m0, (int)((int64_t)args.m * (i + 1) / blocks) - m0, p,
                                 w + next * args.w_panel_stride);
  }
}

// Panels [p, args.panels): at once the most that the registers allow, of the rest fewer.
template <int Panels = kMostPanels>
static inline void all_columns(const GemmF32Args& args, int blocks, int rows, int p) {
  if (rows * Panels * kLaneRegisters <= kSums) {
    for (; p + Panels <= args.panels; p += Panels) columns<Panels>(args, blocks, p);
  }
  if constexpr (Panels > 1) all_columns<Panels / 2>(args, blocks, rows, p);
}

static inline void gemm_generic(const GemmF32Args& args) {
  const int blocks = (args.m + kMostRows - 1) / kMostRows;
  all_columns(args, blocks, (args.m + blocks - 1) / blocks, 0);
}

}  // namespace

void OCTAVO_LANES16(gemm_f32_f32)(const GemmF32Args& args) noexcept { gemm_generic(args); }

}  // namespace octavo
