// SPDX-License-Identifier: Apache-2.0
// gemm_s8 for the matrix multiply of ARMv8.6 (smmla): 2 rows x 8 codes times 8 codes x 2 columns.
// b has groups of 4, so a part of a panel is laid out anew in L1, eights of two columns side by
// side, for all rows of a call; a is put together from two rows as it is read.
// Registers: 4 rows x 16 columns = 16 sums, 4 of a, which last for two eights, 8 of b: 32 products,
// 20 loads and 4 shuffles, which share their pipes with the products.
// Products a cycle by llvm-mca (GCC 12): neoverse-v2 3.50 of 4, neoverse-n2 1.77 of 2, cortex-a510
// 0.89 of 2. 6 rows x 16 columns have the same share on the first and 0.53 on the last.
#include "kernels/common/compiler.h"
#include "kernels/common/neon.h"
#include "kernels/gemm_s8/kernel.h"

namespace octavo {
namespace {

constexpr int kPairs = 8;        // of columns in a panel
constexpr int kPartGroups = 96;  // 6 KiB

static inline int8x16_t low_halves(int8x16_t a, int8x16_t b) {
  return vreinterpretq_s8_s64(vzip1q_s64(vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b)));
}
static inline int8x16_t high_halves(int8x16_t a, int8x16_t b) {
  return vreinterpretq_s8_s64(vzip2q_s64(vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b)));
}
static inline int32x4_t low_halves(int32x4_t a, int32x4_t b) {
  return vreinterpretq_s32_s64(vzip1q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
}
static inline int32x4_t high_halves(int32x4_t a, int32x4_t b) {
  return vreinterpretq_s32_s64(vzip2q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
}

// Two groups of a panel to an eight: per pair of columns 16 bytes.
static inline void lay_out(const int8_t* b, int8_t* eight) {
  OCTAVO_UNROLL
  for (int j = 0; j < 4; ++j) {
    const int32x4_t first = vreinterpretq_s32_s8(vld1q_s8(b + 16 * j));
    const int32x4_t second = vreinterpretq_s32_s8(vld1q_s8(b + 64 + 16 * j));
    vst1q_s8(eight + 32 * j, vreinterpretq_s8_s32(vzip1q_s32(first, second)));
    vst1q_s8(eight + 32 * j + 16, vreinterpretq_s8_s32(vzip2q_s32(first, second)));
  }
}

// 2 * Twos rows x 16 columns over `groups` groups, taken by fours: what lies behind the last one
// meets zeros. A sum register is [row 0: two columns | row 1: two columns].
template <int Twos>
static inline void block(const int8_t* a, int64_t a_stride, const int8_t* b, int groups, int32_t* c,
                         int64_t c_stride, bool accumulate) {
  const int8_t* row[2 * Twos];
  int32x4_t sum[Twos][kPairs];
  OCTAVO_UNROLL
  for (int i = 0; i < Twos; ++i) {
    row[2 * i] = a + 2 * i * a_stride;
    row[2 * i + 1] = a + (2 * i + 1) * a_stride;
    OCTAVO_UNROLL
    for (int j = 0; j < kPairs; j += 2) {
      sum[i][j] = sum[i][j + 1] = vdupq_n_s32(0);
      if (!accumulate) continue;
      const int32x4_t c0 = vld1q_s32(c + 2 * i * c_stride + 2 * j);
      const int32x4_t c1 = vld1q_s32(c + (2 * i + 1) * c_stride + 2 * j);
      sum[i][j] = low_halves(c0, c1);
      sum[i][j + 1] = high_halves(c0, c1);
    }
  }
  for (; groups > 0; groups -= 4) {
    int8x16_t x[2][Twos];
    OCTAVO_UNROLL
    for (int i = 0; i < Twos; ++i) {
      const int8x16_t x0 = vld1q_s8(row[2 * i]), x1 = vld1q_s8(row[2 * i + 1]);
      x[0][i] = low_halves(x0, x1);
      x[1][i] = high_halves(x0, x1);
      row[2 * i] += 16;
      row[2 * i + 1] += 16;
    }
    OCTAVO_UNROLL
    for (int h = 0; h < 2; ++h) {
      int8x16_t w[kPairs];
      OCTAVO_UNROLL
      for (int j = 0; j < kPairs; ++j) {
        w[j] = vld1q_s8(b + 128 * h + 16 * j);
        OCTAVO_LOADED(w[j]);
      }
      OCTAVO_UNROLL
      for (int i = 0; i < Twos * kPairs; ++i) {
        int32x4_t& s = sum[i / kPairs][i % kPairs];
        s = vmmlaq_s32(s, x[h][i / kPairs], w[i % kPairs]);
        OCTAVO_FORGET_VECTOR(s);
      }
    }
    b += 256;
  }
  OCTAVO_UNROLL
  for (int i = 0; i < Twos; ++i) {
    OCTAVO_UNROLL
    for (int j = 0; j < kPairs; j += 2) {
      vst1q_s32(c + 2 * i * c_stride + 2 * j, low_halves(sum[i][j], sum[i][j + 1]));
      vst1q_s32(c + (2 * i + 1) * c_stride + 2 * j, high_halves(sum[i][j], sum[i][j + 1]));
    }
  }
}

static inline void all_rows(const GemmS8Args& args, int64_t k, const int8_t* b, int groups,
                            int32_t* c, bool accumulate) {
  for (int m = 0; m < args.m; m += 4) {
    const int8_t* a = (const int8_t*)args.a + m * args.a_stride + k;
    int32_t* to = c + m * args.c_stride;
    if (args.m - m > 2) {
      block<2>(a, args.a_stride, b, groups, to, args.c_stride, accumulate);
    } else {
      block<1>(a, args.a_stride, b, groups, to, args.c_stride, accumulate);
    }
  }
}

}  // namespace

void gemm_s8s8s32_4x16x8_neon_i8mm(const GemmS8Args& args) noexcept {
  alignas(64) int8_t part[64 * kPartGroups];
  for (int p = 0; p < args.panels; ++p) {
    const int8_t* b = args.b + p * args.b_panel_stride;
    int32_t* c = args.c + 16 * p;
    int g = 0;
    do {  // once even without groups, which writes the zeros
      const int groups = args.k_groups - g < kPartGroups ? args.k_groups - g : kPartGroups;
      for (int i = 0; i < groups; i += 4) {
        lay_out(b + 64 * (g + i), part + 64 * i);
        lay_out(b + 64 * (g + i) + 128, part + 64 * i + 128);
      }
      all_rows(args, 4 * (int64_t)g, part, groups, c, args.accumulate || g > 0);
      g += kPartGroups;
    } while (g < args.k_groups);
  }
}

}  // namespace octavo
