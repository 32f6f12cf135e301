// SPDX-License-Identifier: Apache-2.0
// gemm_blocks_s8 for AVX-512 VNNI (vpdpbusd, zmm). Twelve rows share a block: twelve sums cover the
// latency of 5 cycles at two dot products a cycle. Fewer rows take several blocks at a time, each
// with sums of its own.
// A product takes a load of its own, since neighbouring panels have other blocks. Products a cycle
// by llvm-mca, and of gemm_s8: icelake-server 1.2, 2.0; sapphirerapids 1.0, 1.0; znver4 0.36, 0.43.
#include "kernels/common/compiler.h"
#include "kernels/common/x86.h"
#include "kernels/gemm_blocks_s8/kernel.h"

#include <string.h>

namespace octavo {
namespace {

// So few rows wait for b, and the hardware's prefetcher stops at each page.
constexpr int kRowsThatWait = 4;
constexpr int64_t kAhead = 4096;

static inline __m512i broadcast4(const uint8_t* p) {
  int32_t four;
  memcpy(&four, p, 4);
  return _mm512_set1_epi32(four);
}

// Three rows are within reach of one address: at, at + stride, at + 2 * stride.
template <int Rows>
static inline void add_block(__m512i* sum, const uint8_t* at, int64_t stride, int64_t three,
                             const int8_t* code) {
  const __m512i b = _mm512_loadu_si512(code);
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    sum[i] = _mm512_dpbusd_epi32(sum[i], broadcast4(at + i % 3 * stride), b);
    if (i % 3 != 2) continue;
    at += three;
  }
}

template <int Rows, int Chains>
static inline void panel(const GemmBlocksS8Args& args, int p, int m0) {
  const uint8_t* a = args.a + m0 * args.a_stride;
  const int64_t stride = args.a_stride;
  int64_t three = 3 * stride;
  OCTAVO_FORGET(three);
  __m512i sum[Chains][Rows];
  OCTAVO_UNROLL
  for (int j = 0; j < Chains; ++j) {
    OCTAVO_UNROLL
    for (int i = 0; i < Rows; ++i) sum[j][i] = _mm512_setzero_si512();
  }
  const uint32_t first = args.b.first_block[p];
  const int8_t* code = args.b.code + 64 * (int64_t)first;
  const uint16_t* group = args.b.group + first;
  uint32_t left = args.b.first_block[p + 1] - first;
  for (; left >= Chains; left -= Chains) {
    OCTAVO_UNROLL
    for (int j = 0; j < Chains; ++j) {
      if constexpr (Rows <= kRowsThatWait)
        _mm_prefetch((const char*)(code + 64 * j + kAhead), _MM_HINT_T0);
      add_block<Rows>(sum[j], a + 4 * (int64_t)group[j], stride, three, code + 64 * j);
    }
    // GCC would copy each sum in each turn.
    OCTAVO_UNROLL
    for (int i = 0; Chains > 1 && i < Chains * Rows; ++i) {
      OCTAVO_FORGET_VECTOR(sum[i / Rows][i % Rows]);
    }
    code += 64 * Chains;
    group += Chains;
  }
  for (; left > 0; --left) {
    add_block<Rows>(sum[0], a + 4 * (int64_t)*group, stride, three, code);
    code += 64;
    ++group;
  }
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    OCTAVO_UNROLL
    for (int j = 1; j < Chains; ++j) sum[0][i] = _mm512_add_epi32(sum[0][i], sum[j][i]);
    _mm512_storeu_si512(args.c + (m0 + i) * args.c_stride + 16 * p, sum[0][i]);
  }
}

}  // namespace

void gemm_blocks_u8s8s32_12x16x4_avx512vnni(const GemmBlocksS8Args& args) noexcept {
  for (int p = 0; p < args.b.panels; ++p) {
    int m = 0;
    for (; m + 12 <= args.m; m += 12) panel<12, 1>(args, p, m);
    for (; m + 4 <= args.m; m += 4) panel<4, 3>(args, p, m);
    switch (args.m - m) {
      case 3: panel<3, 4>(args, p, m); break;
      case 2: panel<2, 4>(args, p, m); break;
      case 1: panel<1, 4>(args, p, m); break;
      default: break;
    }
  }
}

}  // namespace octavo
