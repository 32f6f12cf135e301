// SPDX-License-Identifier: Apache-2.0
// gemm_s8 for the matrix multiply of ARMv8.6 (smmla): 2 rows x 8 codes times 8 codes x 2 columns.
// a comes with eights of eight rows side by side (kS8Eights). b has groups of 4, so a part of a
// panel is laid out anew in L1, eights of two columns side by side, for all rows of a call.
// Registers: 8 rows x 8 columns = 16 sums, 8 of an eight of a and b, and as many of the next, which
// arrive meanwhile: 64 products and 8 loads a step.
//   Each load is of four registers and takes as long as a product, so that cores which execute in
// order load beside products; behind one they wait two cycles with a load of one register, and
// three with an addition. For the same reason all pointers move at once. Products a cycle by
// llvm-mca (GCC 12; Clang 19 in brackets): neoverse-v2 3.98 of 4 (3.98), cortex-a510 1.49 of 2
// (1.45).
#include "kernels/common/compiler.h"
#include "kernels/common/neon.h"
#include "kernels/gemm_s8/kernel.h"

namespace octavo {
namespace {

constexpr int kRows = 8;
constexpr int kEights = 4;       // a step
constexpr int kPartGroups = 96;  // 6 KiB

static inline int32x4_t low_halves(int32x4_t a, int32x4_t b) {
  return vreinterpretq_s32_s64(vzip1q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
}
static inline int32x4_t high_halves(int32x4_t a, int32x4_t b) {
  return vreinterpretq_s32_s64(vzip2q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
}

// Two groups of a panel to an eight: per pair of columns 16 bytes.
static inline void lay_out(const int8_t* b, int8_t* eight) {
  int8x16_t group[8];
  OCTAVO_UNROLL
  for (int j = 0; j < 8; ++j) {
    group[j] = vld1q_s8(b + 16 * j);
    OCTAVO_LOADED(group[j]);
  }
  OCTAVO_UNROLL
  for (int j = 0; j < 4; ++j) {
    const int32x4_t first = vreinterpretq_s32_s8(group[j]);
    const int32x4_t second = vreinterpretq_s32_s8(group[4 + j]);
    group[j] = vreinterpretq_s8_s32(vzip1q_s32(first, second));
    group[4 + j] = vreinterpretq_s8_s32(vzip2q_s32(first, second));
  }
  OCTAVO_UNROLL
  for (int j = 0; j < 4; ++j) {
    vst1q_s8(eight + 32 * j, group[j]);
    vst1q_s8(eight + 32 * j + 16, group[4 + j]);
  }
}

// Rows 2 * from to 2 * to of an eight.
template <int Twos>
static inline void add(int32x4_t (&sum)[Twos][4], const int8x16x4_t& x, const int8x16x4_t& w,
                       int from, int to) {
  OCTAVO_UNROLL
  for (int i = from; i < to; ++i) {
    OCTAVO_UNROLL
    for (int j = 0; j < 4; ++j) {
      sum[i][j] = vmmlaq_s32(sum[i][j], x.val[i], w.val[j]);
      OCTAVO_FORGET_VECTOR(sum[i][j]);
    }
  }
}

// 2 * Twos rows x 8 columns over `groups` groups, taken by eights: what lies behind the last one
// meets zeros. A sum register is [row 0: two columns | row 1: two columns].
template <int Twos>
static inline void block(const int8_t* a, int64_t a_stride, const int8_t* b, int groups, int32_t* c,
                         int64_t c_stride, bool accumulate) {
  int32x4_t sum[Twos][4];
  OCTAVO_UNROLL
  for (int i = 0; i < Twos; ++i) {
    OCTAVO_UNROLL
    for (int j = 0; j < 4; j += 2) {
      sum[i][j] = sum[i][j + 1] = vdupq_n_s32(0);
      if (!accumulate) continue;
      const int32x4_t c0 = vld1q_s32(c + 2 * i * c_stride + 2 * j);
      const int32x4_t c1 = vld1q_s32(c + (2 * i + 1) * c_stride + 2 * j);
      sum[i][j] = low_halves(c0, c1);
      sum[i][j + 1] = high_halves(c0, c1);
    }
  }
  const int8_t *a_at[kEights], *b_at[kEights];
  OCTAVO_UNROLL
  for (int e = 0; e < kEights; ++e) {
    a_at[e] = a + e * a_stride;
    b_at[e] = b + 128 * e;
  }
  // From the first four eights of a string of 64 codes to the others, and on to the next string.
  int64_t a_step = kEights * a_stride;
  for (; groups > 0; groups -= 2 * kEights) {
    const int8x16x4_t w0 = vld1q_s8_x4(b_at[0]), x0 = vld1q_s8_x4(a_at[0]);
    add(sum, x0, w0, 0, Twos / 2);
    const int8x16x4_t w1 = vld1q_s8_x4(b_at[1]), x1 = vld1q_s8_x4(a_at[1]);
    add(sum, x0, w0, Twos / 2, Twos);
    add(sum, x1, w1, 0, Twos / 2);
    const int8x16x4_t w2 = vld1q_s8_x4(b_at[2]), x2 = vld1q_s8_x4(a_at[2]);
    add(sum, x1, w1, Twos / 2, Twos);
    add(sum, x2, w2, 0, Twos / 2);
    const int8x16x4_t w3 = vld1q_s8_x4(b_at[3]), x3 = vld1q_s8_x4(a_at[3]);
    add(sum, x2, w2, Twos / 2, Twos);
    add(sum, x3, w3, 0, Twos);
    OCTAVO_UNROLL
    for (int e = 0; e < kEights; ++e) {
      OCTAVO_FORGET(a_at[e]);  // else the loads move it, which takes longer
      OCTAVO_FORGET(b_at[e]);
      a_at[e] += a_step;
      b_at[e] += 128 * kEights;
    }
    a_step = 64 - a_step;
  }
  OCTAVO_UNROLL
  for (int i = 0; i < Twos; ++i) {
    OCTAVO_UNROLL
    for (int j = 0; j < 4; j += 2) {
      vst1q_s32(c + 2 * i * c_stride + 2 * j, low_halves(sum[i][j], sum[i][j + 1]));
      vst1q_s32(c + (2 * i + 1) * c_stride + 2 * j, high_halves(sum[i][j], sum[i][j + 1]));
    }
  }
}

template <int Twos>
static inline void two_halves(const int8_t* a, int64_t a_stride, const int8_t* b, int groups,
                              int32_t* c, int64_t c_stride, bool accumulate) {
  block<Twos>(a, a_stride, b, groups, c, c_stride, accumulate);
  block<Twos>(a, a_stride, b + 64, groups, c + 8, c_stride, accumulate);
}

static inline void all_rows(const GemmS8Args& args, int64_t k, const int8_t* b, int groups,
                            int32_t* c, bool accumulate) {
  for (int m = 0; m < args.m; m += kRows) {
    const int8_t* a = (const int8_t*)args.a + m * args.a_stride + k;
    int32_t* to = c + m * args.c_stride;
    switch (args.m - m) {
      case 1:
      case 2: two_halves<1>(a, args.a_stride, b, groups, to, args.c_stride, accumulate); break;
      case 3:
      case 4: two_halves<2>(a, args.a_stride, b, groups, to, args.c_stride, accumulate); break;
      case 5:
      case 6: two_halves<3>(a, args.a_stride, b, groups, to, args.c_stride, accumulate); break;
      default: two_halves<4>(a, args.a_stride, b, groups, to, args.c_stride, accumulate); break;
    }
  }
}

}  // namespace

void gemm_s8s8s32_8x16x8_neon_i8mm(const GemmS8Args& args) noexcept {
  alignas(64) int8_t part[64 * kPartGroups];
  for (int p = 0; p < args.panels; ++p) {
    const int8_t* b = args.b + p * args.b_panel_stride;
    int32_t* c = args.c + 16 * p;
    int g = 0;
    do {  // once even without groups, which writes the zeros
      const int groups = args.k_groups - g < kPartGroups ? args.k_groups - g : kPartGroups;
      const int whole_steps = (groups + 2 * kEights - 1) / (2 * kEights) * (2 * kEights);
      for (int i = 0; i < whole_steps; i += 2) lay_out(b + 64 * (g + i), part + 64 * i);
      all_rows(args, 4 * (int64_t)g, part, groups, c, args.accumulate || g > 0);
      g += kPartGroups;
    } while (g < args.k_groups);
  }
}

}  // namespace octavo
