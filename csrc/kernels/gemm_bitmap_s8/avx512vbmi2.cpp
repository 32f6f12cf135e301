// SPDX-License-Identifier: Apache-2.0
// gemm_bitmap_s8 with vpexpandb from a register: the weight goes from its packed bytes straight
// into vpdpbusd. Four panels at a time, as gemm_s8 does for one row: eight chains of loads.
// Registers: 4 rows x 4 panels = 16 sums, 4 of b, 1 broadcast of a: 21 of 32.
// Cycles of a group with 1, 2, 4 rows by llvm-mca, which takes vpexpandb for one operation:
// icelake-server 2.3, 2.8, 3.8; znver4 2.4, 4.5, 9.
#include "kernels/common/compiler.h"
#include "kernels/common/four_bytes.h"
#include "kernels/common/x86.h"
#include "kernels/gemm_bitmap_s8/kernel.h"

namespace octavo {
namespace {

template <int Rows, int Panels>
static inline void block(const GemmBitmapS8Args& args, int m0, int p) {
  const uint8_t* a = args.a + m0 * args.a_stride;
  const uint64_t* mask = args.b.mask + p * args.b.mask_stride;
  const int8_t* value[Panels];
  __m512i sum[Rows][Panels];
  OCTAVO_UNROLL
  for (int j = 0; j < Panels; ++j) {
    value[j] = args.b.value + args.b.first_value[(p + j) * args.b.first_stride];
    OCTAVO_UNROLL
    for (int i = 0; i < Rows; ++i) sum[i][j] = _mm512_setzero_si512();
  }
  for (int g = 0; g < args.k_groups; ++g) {
    __m512i w[Panels];
    OCTAVO_UNROLL
    for (int j = 0; j < Panels; ++j) {
      const uint64_t bits = mask[j * args.b.mask_stride];
      __m512i next = _mm512_loadu_si512(value[j]);
      OCTAVO_FORGET_VECTOR(next);
      w[j] = _mm512_maskz_expand_epi8(bits, next);
      value[j] += _mm_popcnt_u64(bits);
    }
    ++mask;
    OCTAVO_UNROLL
    for (int i = 0; i < Rows; ++i) {
      const __m512i x = _mm512_set1_epi32(four_bytes(a + i * args.a_stride + 4 * g));
      OCTAVO_UNROLL
      for (int j = 0; j < Panels; ++j) sum[i][j] = _mm512_dpbusd_epi32(sum[i][j], x, w[j]);
    }
  }
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    OCTAVO_UNROLL
    for (int j = 0; j < Panels; ++j) {
      _mm512_storeu_si512(args.c + (m0 + i) * args.c_stride + 16 * (p + j), sum[i][j]);
    }
  }
}

template <int Panels>
static inline void columns(const GemmBitmapS8Args& args, int p) {
  int m = 0;
  for (; m + 4 <= args.m; m += 4) block<4, Panels>(args, m, p);
  switch (args.m - m) {
    case 3: block<3, Panels>(args, m, p); break;
    case 2: block<2, Panels>(args, m, p); break;
    case 1: block<1, Panels>(args, m, p); break;
    default: break;
  }
}

}  // namespace

void gemm_bitmap_u8s8s32_4x64x4_avx512vbmi2(const GemmBitmapS8Args& args) noexcept {
  int p = 0;
  for (; p + 4 <= args.b.panels; p += 4) columns<4>(args, p);
  for (; p < args.b.panels; ++p) columns<1>(args, p);
}

}  // namespace octavo
