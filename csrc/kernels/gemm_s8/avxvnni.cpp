// SPDX-License-Identifier: Apache-2.0
// gemm_s8 for AVX-VNNI (VEX vpdpbusd, ymm): uint8 codes times int8 weights, exact in int32.
// Registers: 12 sums, 2 of b, 1 broadcast of a: 15 of 16. 12 chains cover the latency of 5 cycles
// at two dot products a cycle.
#include "kernels/common/compiler.h"
#include "kernels/common/x86.h"
#include "kernels/gemm_s8/kernel.h"

namespace octavo {
namespace {

static inline __m256i load(const void* p) { return _mm256_loadu_si256((const __m256i*)p); }
static inline void store(void* p, __m256i v) { _mm256_storeu_si256((__m256i*)p, v); }
static inline __m256i broadcast4(const uint8_t* p) {
  return _mm256_castps_si256(_mm256_broadcast_ss((const float*)p));
}

// Ahead: the next panel is brought into L2.
template <int Rows, bool Ahead>
static inline void block(const GemmS8Args& args, int m0, int p) {
  const uint8_t* a = args.a + m0 * args.a_stride;
  const int8_t* b = args.b + p * args.b_panel_stride;
  int32_t* c = args.c + m0 * args.c_stride + 16 * p;
  __m256i sum[Rows][2];
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    int32_t* row = c + i * args.c_stride;
    sum[i][0] = args.accumulate ? load(row) : _mm256_setzero_si256();
    sum[i][1] = args.accumulate ? load(row + 8) : _mm256_setzero_si256();
  }
  for (int g = 0; g < args.k_groups; ++g) {
    const __m256i b0 = load(b), b1 = load(b + 32);
    if (Ahead) OCTAVO_PREFETCH(b + args.b_panel_stride);
    b += 64;
    OCTAVO_UNROLL
    for (int i = 0; i < Rows; ++i) {
      const __m256i x = broadcast4(a + i * args.a_stride + 4 * g);
      sum[i][0] = _mm256_dpbusd_avx_epi32(sum[i][0], x, b0);
      sum[i][1] = _mm256_dpbusd_avx_epi32(sum[i][1], x, b1);
    }
  }
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    int32_t* row = c + i * args.c_stride;
    store(row, sum[i][0]);
    store(row + 8, sum[i][1]);
  }
}

// The rows from m0 on, at most 6.
template <bool Ahead, int Rows = 6>
static inline void some_rows(const GemmS8Args& args, int m0, int p) {
  if (args.m - m0 >= Rows) return block<Rows, Ahead>(args, m0, p);
  if constexpr (Rows > 1) some_rows<Ahead, Rows - 1>(args, m0, p);
}

}  // namespace

void gemm_u8s8s32_6x16x4_avxvnni(const GemmS8Args& args) noexcept {
  for (int p = 0; p < args.panels; ++p) {
    if (p + 1 < args.panels) {
      some_rows<true>(args, 0, p);
    } else {
      some_rows<false>(args, 0, p);
    }
    for (int m = 6; m < args.m; m += 6) some_rows<false>(args, m, p);
  }
}

}  // namespace octavo
