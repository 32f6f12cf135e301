// SPDX-License-Identifier: Apache-2.0
// gemm_s8 for ARMv8.0, which has no dot product: groups of four by twos, products of the second
// added in int16 to those of the first, then pairs of neighbours to int32. 3 instructions for 16
// products. Twice -128 * -128 would not fit int16, so b is complemented in the second group:
//   b0 * a0 - ~b1 * a1 = b0 * a0 + b1 * a1 + a1          between -32640 and 32640
// and the sum of all such a1, one number per row, is taken off.
// Cycles for 256 products by llvm-mca: neoverse-n1 and cortex-a57 32.2, cortex-a53 91; the first
// two multiply 8 a cycle. Registers: 2 rows x 16 columns = 16 sums, two to four columns each, 4 of
// a, 2 of b, 2 of products.
#include "kernels/common/neon.h"
#include "kernels/common/compiler.h"
#include "kernels/common/four_bytes.h"
#include "kernels/gemm_s8/kernel.h"

namespace octavo {
namespace {

constexpr int kRows = 2;
constexpr int kRowsWithExcess = 64;

static inline int8x16_t broadcast4(const int8_t* p) {
  return vreinterpretq_s8_s32(vdupq_n_s32(four_bytes(p)));
}

// What the sums of rows [m0, m0 + rows) exceed: the codes of every second group.
static inline void sum_excess(const GemmS8Args& args, int m0, int rows, int32_t* excess) {
  const int8x16_t second = vreinterpretq_s8_u64(vdupq_n_u64(0xffffffff00000000u));
  for (int i = 0; i < rows; ++i) {
    const int8_t* a = (const int8_t*)args.a + (m0 + i) * args.a_stride;
    int32x4_t sum = vdupq_n_s32(0);
    for (int g = 0; g < args.k_groups; g += 4) {
      const int8x16_t codes = vandq_s8(vld1q_s8(a + 4 * (int64_t)g), second);
      sum = vpadalq_s16(sum, vpaddlq_s8(codes));
    }
    excess[i] = vaddvq_s32(sum);
  }
}

template <int Rows>
static inline void block(const GemmS8Args& args, int m0, int p, const int32_t* excess) {
  const int8_t* b = args.b + p * args.b_panel_stride;
  int32_t* c = args.c + m0 * args.c_stride + 16 * p;
  const int8_t* a[Rows];
  int32x4_t sum[Rows][8];
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    a[i] = (const int8_t*)args.a + (m0 + i) * args.a_stride;
    OCTAVO_UNROLL
    for (int j = 0; j < 8; ++j) sum[i][j] = vdupq_n_s32(0);
  }
  const int groups = args.k_groups;
  for (int g = 0; g < groups; g += 2) {  // behind an odd last group a is zeros
    int8x16_t x[Rows][2];
    OCTAVO_UNROLL
    for (int i = 0; i < Rows; ++i) {
      x[i][0] = broadcast4(a[i]);
      x[i][1] = broadcast4(a[i] + 4);
      a[i] += 8;
    }
    int8x16_t next0 = vld1q_s8(b), next1 = vld1q_s8(b + 64);
    OCTAVO_UNROLL
    for (int j = 0; j < 4; ++j) {
      const int8x16_t w0 = next0, w1 = vmvnq_s8(next1);
      if (j < 3) {  // a turn ahead, for cores that execute in order
        next0 = vld1q_s8(b + 16 * j + 16);
        next1 = vld1q_s8(b + 16 * j + 80);
        OCTAVO_LOADED(next1);
      }
      int16x8_t pairs[Rows][2];  // four of them cover each other's latency
      OCTAVO_UNROLL
      for (int i = 0; i < Rows; ++i) {
        pairs[i][0] = vmull_s8(vget_low_s8(w0), vget_low_s8(x[i][0]));
        pairs[i][1] = vmull_high_s8(w0, x[i][0]);
        OCTAVO_FORGET_VECTOR(pairs[i][0]);
        OCTAVO_FORGET_VECTOR(pairs[i][1]);
      }
      OCTAVO_UNROLL
      for (int i = 0; i < Rows; ++i) {
        pairs[i][0] = vmlsl_s8(pairs[i][0], vget_low_s8(w1), vget_low_s8(x[i][1]));
        pairs[i][1] = vmlsl_high_s8(pairs[i][1], w1, x[i][1]);
      }
      OCTAVO_UNROLL
      for (int i = 0; i < 2 * Rows; ++i) {
        int32x4_t& s = sum[i / 2][2 * j + i % 2];
        s = vpadalq_s16(s, pairs[i / 2][i % 2]);
        OCTAVO_FORGET_VECTOR(s);
      }
    }
    b += 128;
  }
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    const int32x4_t too_much = vdupq_n_s32(excess[i]);
    OCTAVO_UNROLL
    for (int j = 0; j < 4; ++j) {
      int32_t* to = c + i * args.c_stride + 4 * j;
      int32x4_t four = vsubq_s32(vpaddq_s32(sum[i][2 * j], sum[i][2 * j + 1]), too_much);
      if (args.accumulate) four = vaddq_s32(four, vld1q_s32(to));
      vst1q_s32(to, four);
    }
  }
}

}  // namespace

void gemm_s8s8s32_2x16x4_neon(const GemmS8Args& args) noexcept {
  int32_t excess[kRowsWithExcess];
  for (int m0 = 0; m0 < args.m; m0 += kRowsWithExcess) {
    const int rows = args.m - m0 < kRowsWithExcess ? args.m - m0 : kRowsWithExcess;
    sum_excess(args, m0, rows, excess);
    for (int p = 0; p < args.panels; ++p) {
      int i = 0;
      for (; i + kRows <= rows; i += kRows) block<kRows>(args, m0 + i, p, excess + i);
      if (i < rows) block<1>(args, m0 + i, p, excess + i);
    }
  }
}

}  // namespace octavo
