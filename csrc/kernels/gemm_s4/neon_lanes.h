// SPDX-License-Identifier: Apache-2.0
// gemm_s4 on registers of four columns. A tier's file says in a struct Dot how products are added,
// 32 inputs at a time, in registers of its own:
//   part = Dot::begin(sum); Dot::add(part, halves of bytes, codes of a row, which four); ...
//   sum = Dot::end(sum, part)
// Outputs stay in c between groups: registers are for the sums. Halves are unpacked for each block
// of rows.
#pragma once
#include "kernels/common/compiler.h"
#include "kernels/common/neon.h"
#include "kernels/gemm_s4/kernel.h"

namespace octavo {
namespace {

// Adds 32 inputs; b is at the first register of columns, rows at the first input.
template <class Dot, int Rows, int Vectors>
static inline void add_32(const uint8_t* b, const int8_t* const (&row)[Rows],
                          int32x4_t (&sum)[Rows][Vectors]) {
  typename Dot::Sums part[Rows][Vectors];
  OCTAVO_UNROLL
  for (int i = 0; i < Rows * Vectors; ++i) {
    part[i / Vectors][i % Vectors] = Dot::begin(sum[i / Vectors][i % Vectors]);
  }
  OCTAVO_UNROLL
  for (int k = 0; k < 32; k += 16) {
    int8x16_t x[Rows];
    OCTAVO_UNROLL
    for (int i = 0; i < Rows; ++i) x[i] = vld1q_s8(row[i] + k);
    OCTAVO_UNROLL
    for (int eight = 0; eight < 2; ++eight) {
      OCTAVO_UNROLL
      for (int j = 0; j < Vectors; ++j) {
        const uint8x16_t v = vld1q_u8(b + 64 * (k / 8 + eight) + 16 * j);
        const int8x16_t low = vreinterpretq_s8_u8(vandq_u8(v, vdupq_n_u8(15)));
        const int8x16_t high = vreinterpretq_s8_u8(vshrq_n_u8(v, 4));
        OCTAVO_UNROLL
        for (int i = 0; i < Rows; ++i) {
          Dot::add(part[i][j], low, x[i], 2 * eight);
          Dot::add(part[i][j], high, x[i], 2 * eight + 1);
        }
      }
    }
  }
  OCTAVO_UNROLL
  for (int i = 0; i < Rows * Vectors; ++i) {
    int32x4_t& s = sum[i / Vectors][i % Vectors];
    s = Dot::end(s, part[i / Vectors][i % Vectors]);
  }
}

// Rows x 4 * Vectors outputs from a column of panel p on.
template <class Dot, int Rows, int Vectors>
static inline void block(const GemmS4Args& args, int m0, int p, int column) {
  const uint8_t* b = args.b + p * args.b_panel_stride + 4 * column;
  const float* b_scale = args.b_scale + p * args.b_scale_stride + column;
  const float* a_scale = args.a_scale + m0;
  const int32_t* a_base = args.a_base + m0;
  float* c = args.c + m0 * args.c_stride + 16 * p + column;
  const int8_t* row[Rows];
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) row[i] = (const int8_t*)args.a + (m0 + i) * args.a_stride;
  for (int first = 0; first < args.k; first += args.group) {
    int32x4_t sum[Rows][Vectors];
    OCTAVO_UNROLL
    for (int i = 0; i < Rows * Vectors; ++i) {
      sum[i / Vectors][i % Vectors] = vdupq_n_s32(a_base[i / Vectors]);
    }
    const int end = args.k - first < args.group ? args.k : first + args.group;
    for (int k = first; k < end; k += 32) {
      add_32<Dot, Rows, Vectors>(b, row, sum);
      b += 256;
      OCTAVO_UNROLL
      for (int i = 0; i < Rows; ++i) row[i] += 32;
    }
    OCTAVO_UNROLL
    for (int i = 0; i < Rows * Vectors; ++i) {
      const int m = i / Vectors, j = i % Vectors;
      float* y = c + m * args.c_stride + 4 * j;
      const float32x4_t before = first == 0 ? vdupq_n_f32(0) : vld1q_f32(y);
      const float32x4_t both = vmulq_n_f32(vld1q_f32(b_scale + 4 * j), a_scale[m]);
      vst1q_f32(y, vfmaq_f32(before, vcvtq_f32_s32(sum[m][j]), both));
    }
    b_scale += 16;
    a_scale += args.a_scale_stride;
    a_base += args.a_scale_stride;
  }
}

// All rows from m0 on, Rows at a time, the last ones by halves of that.
template <class Dot, int Rows, int Vectors>
static inline void all_rows(const GemmS4Args& args, int m0, int p) {
  for (; m0 + Rows <= args.m; m0 += Rows) {
    for (int column = 0; column < 16; column += 4 * Vectors) {
      block<Dot, Rows, Vectors>(args, m0, p, column);
    }
  }
  if constexpr (Rows > 1) {
    if (m0 < args.m) all_rows<Dot, Rows / 2, Vectors>(args, m0, p);
  }
}

template <class Dot, int Rows, int Vectors>
static inline void gemm(const GemmS4Args& args) {
  for (int p = 0; p < args.panels; ++p) all_rows<Dot, Rows, Vectors>(args, 0, p);
}

}  // namespace
}  // namespace octavo
