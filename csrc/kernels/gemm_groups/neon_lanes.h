// SPDX-License-Identifier: Apache-2.0
// gemm_groups on registers of four columns. A tier's file says in a struct Dot how products are
// added, 32 inputs at a time, or Dot::kByteInputs of 8 bits, in registers of its own:
//   part = Dot::begin(sum); Dot::add(part, codes of the weight, codes of a row, which four); ...
//   sum = Dot::end(sum, part)
// Outputs stay in c between groups: registers are for the sums. Halves of bytes are unpacked for
// each block of rows, codes of 5 bits before.
#pragma once
#include "kernels/common/compiler.h"
#include "kernels/common/group_numbers16.h"
#include "kernels/gemm_groups/parts.h"

namespace octavo {
namespace {

constexpr int kVectors = 4;  // of four columns

// Eight inputs of four columns: codes of four of them, then of the others. Bytes less `offset`.
struct Eight {
  int8x16_t four[2];
};
template <bool Bytes>
static inline Eight eight_inputs(const uint8_t* b, uint8x16_t offset) {
  const uint8x16_t v = vld1q_u8(b);
  if (Bytes) {
    return {vreinterpretq_s8_u8(veorq_u8(v, offset)),
            vreinterpretq_s8_u8(veorq_u8(vld1q_u8(b + 64), offset))};
  }
  return {vreinterpretq_s8_u8(vandq_u8(v, vdupq_n_u8(15))), vreinterpretq_s8_u8(vshrq_n_u8(v, 4))};
}

// Adds 32 inputs; b is at the first register of columns, rows at the first input.
template <class Dot, bool Bytes, int Rows>
static inline void add_32(const uint8_t* b, uint8x16_t offset, const int8_t* const (&row)[Rows],
                          int32x4_t (&sum)[Rows][kVectors]) {
  constexpr int kInputs = Bytes ? Dot::kByteInputs : 32;
  typename Dot::Sums part[Rows][kVectors];
  OCTAVO_UNROLL
  for (int k = 0; k < 32; k += 16) {
    int8x16_t x[Rows];
    OCTAVO_UNROLL
    for (int i = 0; i < Rows; ++i) x[i] = vld1q_s8(row[i] + k);
    OCTAVO_UNROLL
    for (int eight = 0; eight < 2; ++eight) {
      const int at = k + 8 * eight;
      OCTAVO_UNROLL
      for (int j = 0; j < kVectors; ++j) {
        const Eight w = eight_inputs<Bytes>(b + (Bytes ? 16 : 8) * at + 16 * j, offset);
        OCTAVO_UNROLL
        for (int i = 0; i < Rows; ++i) {
          if (at % kInputs == 0) part[i][j] = Dot::begin(sum[i][j]);
          Dot::add(part[i][j], w.four[0], x[i], 2 * eight);
          Dot::add(part[i][j], w.four[1], x[i], 2 * eight + 1);
          if ((at + 8) % kInputs == 0) sum[i][j] = Dot::end(sum[i][j], part[i][j]);
        }
      }
    }
  }
}

// Rows x 16 outputs of panel p.
template <class Dot, bool Bytes, int Rows>
static inline void block(const GemmGroupsArgs& args, const Part& part, int m0, int p) {
  const uint8_t* b = part.b;
  const uint8x16_t offset = vdupq_n_u8(args.bits == 8 ? 128 : 0);
  const NumbersOfPanel b_scale(args.b_scale, p);
  int64_t g = part.begin / args.group;
  const float* a_scale = args.a_scale + g * args.a_scale_stride + m0;
  const int32_t* a_base = args.a_base + g * args.a_scale_stride + m0;
  float* c = args.c + m0 * args.c_stride + 16 * p;
  const int8_t* row[Rows];
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    row[i] = (const int8_t*)args.a + (m0 + i) * args.a_stride + part.begin;
  }
  for (int first = part.begin; first < part.end; first += args.group) {
    int32x4_t sum[Rows][kVectors];
    OCTAVO_UNROLL
    for (int i = 0; i < Rows * kVectors; ++i) {
      sum[i / kVectors][i % kVectors] = vdupq_n_s32(a_base[i / kVectors]);
    }
    const int end = part.end - first < args.group ? part.end : first + args.group;
    for (int k = first; k < end; k += 32) {
      add_32<Dot, Bytes, Rows>(b, offset, row, sum);
      b += Bytes ? 512 : 256;
      OCTAVO_UNROLL
      for (int i = 0; i < Rows; ++i) row[i] += 32;
    }
    const F16 scales = b_scale[g++];
    const float32x4_t scale[kVectors] = {scales.q0, scales.q1, scales.q2, scales.q3};
    OCTAVO_UNROLL
    for (int i = 0; i < Rows * kVectors; ++i) {
      const int m = i / kVectors, j = i % kVectors;
      float* y = c + m * args.c_stride + 4 * j;
      const bool fresh = first == 0 && !args.accumulate;
      const float32x4_t before = fresh ? vdupq_n_f32(0) : vld1q_f32(y);
      const float32x4_t both = vmulq_n_f32(scale[j], a_scale[m]);
      vst1q_f32(y, vfmaq_f32(before, vcvtq_f32_s32(sum[m][j]), both));
    }
    a_scale += args.a_scale_stride;
    a_base += args.a_scale_stride;
  }
}

// All rows from m0 on, Rows at a time, the last ones by halves of that.
template <class Dot, bool Bytes, int Rows>
static inline void all_rows(const GemmGroupsArgs& args, const Part& part, int m0, int p) {
  for (; m0 + Rows <= args.m; m0 += Rows) block<Dot, Bytes, Rows>(args, part, m0, p);
  if constexpr (Rows > 1) {
    if (m0 < args.m) all_rows<Dot, Bytes, Rows / 2>(args, part, m0, p);
  }
}

static inline void unpack(const uint8_t* b, const uint8_t* high, int inputs, uint8_t* out) {
  for (int k = 0; k < inputs; k += 8) {
    const uint8x16_t bits = vld1q_u8(high);
    OCTAVO_UNROLL
    for (int t = 0; t < 8; ++t) {
      const uint8x16_t v = vld1q_u8(b + 16 * (t % 4));
      const uint8x16_t low = t < 4 ? vandq_u8(v, vdupq_n_u8(15)) : vshrq_n_u8(v, 4);
      const uint8x16_t bit = vandq_u8(vshlq_u8(bits, vdupq_n_s8((int8_t)(4 - t))), vdupq_n_u8(16));
      vst1q_u8(out + 16 * t, vorrq_u8(low, bit));
    }
    b += 64;
    high += 16;
    out += 128;
  }
}

template <class Dot, int Rows>
static inline void gemm(const GemmGroupsArgs& args) {
  for (int p = 0; p < args.panels; ++p) {
    if (args.bits == 4) {
      all_rows<Dot, false, Rows>(args, whole_part(args, p), 0, p);
    } else if (args.bits == 8) {
      all_rows<Dot, true, Rows>(args, whole_part(args, p), 0, p);
    } else {
      each_unpacked_part<1>(args, p, unpack,
                            [&](const Part& part) { all_rows<Dot, true, Rows>(args, part, 0, p); });
    }
  }
}

}  // namespace
}  // namespace octavo
