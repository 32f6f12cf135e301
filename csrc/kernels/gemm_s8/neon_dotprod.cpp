// SPDX-License-Identifier: Apache-2.0
// gemm_s8 for the dot product of ARMv8.2 (sdot): a register of b is one group of four columns, and
// a lane of a register of a the group of a row that it meets. Registers: 8 rows x 8 columns = 16
// sums, 8 of a, which last for four groups, 4 of b for two of them: 64 dot products and 16 loads.
// Half a panel at a time: 8 rows x 16 columns would be 32 sums. Instructions stay in the order that
// they are written in, loads in a row: cores that execute in order wait at each load that comes
// behind a product. Dot products a cycle by llvm-mca (GCC 12): neoverse-n1 1.99 of 2,
// neoverse-v2 3.97 of 4, cortex-a55 0.76 of 1, cortex-a510 1.42 of 2; of one row, which loads
// bind, 1.86, 2.77, 0.42, 0.62.
#include "kernels/common/compiler.h"
#include "kernels/common/neon.h"
#include "kernels/gemm_s8/kernel.h"

namespace octavo {
namespace {

constexpr int kRows = 8;

// Adds groups Lane and Lane + 1 of four; b points at the first of Vectors registers of a group.
template <int Lane, int Rows, int Vectors>
static inline void add_two(const int8_t* b, const int8x16_t (&a)[Rows],
                           int32x4_t (&sum)[Rows][Vectors]) {
  int8x16_t w[2 * Vectors];
  OCTAVO_UNROLL
  for (int j = 0; j < 2 * Vectors; ++j) {
    w[j] = vld1q_s8(b + j / Vectors * 64 + j % Vectors * 16);
    OCTAVO_LOADED(w[j]);
  }
  OCTAVO_UNROLL
  for (int i = 0; i < Rows * Vectors; ++i) {
    int32x4_t& s = sum[i / Vectors][i % Vectors];
    s = vdotq_laneq_s32(s, w[i % Vectors], a[i / Vectors], Lane);
    OCTAVO_FORGET_VECTOR(s);
  }
  OCTAVO_UNROLL
  for (int i = 0; i < Rows * Vectors; ++i) {
    int32x4_t& s = sum[i / Vectors][i % Vectors];
    s = vdotq_laneq_s32(s, w[Vectors + i % Vectors], a[i / Vectors], Lane + 1);
    OCTAVO_FORGET_VECTOR(s);
  }
}

// Rows x 4 * Vectors sums. Groups are taken by fours: what lies behind the last one meets zeros.
template <int Rows, int Vectors>
static inline void block(const GemmS8Args& args, int m0, int p, int column) {
  const int8_t* a = (const int8_t*)args.a + m0 * args.a_stride;
  const int8_t* b = args.b + p * args.b_panel_stride + 4 * column;
  int32_t* c = args.c + m0 * args.c_stride + 16 * p + column;
  const int8_t* row[Rows];
  int32x4_t sum[Rows][Vectors];
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    row[i] = a + i * args.a_stride;
    OCTAVO_UNROLL
    for (int j = 0; j < Vectors; ++j) {
      sum[i][j] = args.accumulate ? vld1q_s32(c + i * args.c_stride + 4 * j) : vdupq_n_s32(0);
    }
  }
  for (int left = args.k_groups; left > 0; left -= 4) {
    int8x16_t x[Rows];
    OCTAVO_UNROLL
    for (int i = 0; i < Rows; ++i) {
      x[i] = vld1q_s8(row[i]);
      OCTAVO_LOADED(x[i]);
      row[i] += 16;
    }
    add_two<0>(b, x, sum);
    add_two<2>(b + 128, x, sum);
    b += 256;
  }
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    OCTAVO_UNROLL
    for (int j = 0; j < Vectors; ++j) vst1q_s32(c + i * args.c_stride + 4 * j, sum[i][j]);
  }
}

template <int Rows>
static inline void two_halves(const GemmS8Args& args, int m0, int p) {
  block<Rows, 2>(args, m0, p, 0);
  block<Rows, 2>(args, m0, p, 8);
}

}  // namespace

void gemm_s8s8s32_8x16x4_neon_dotprod(const GemmS8Args& args) noexcept {
  for (int p = 0; p < args.panels; ++p) {
    int m = 0;
    for (; m + kRows <= args.m; m += kRows) two_halves<kRows>(args, m, p);
    switch (args.m - m) {
      case 7: two_halves<7>(args, m, p); break;
      case 6: two_halves<6>(args, m, p); break;
      case 5: two_halves<5>(args, m, p); break;
      case 4: block<4, 4>(args, m, p, 0); break;
      case 3: block<3, 4>(args, m, p, 0); break;
      case 2: block<2, 4>(args, m, p, 0); break;
      case 1: block<1, 4>(args, m, p, 0); break;
      default: break;
    }
  }
}

}  // namespace octavo
