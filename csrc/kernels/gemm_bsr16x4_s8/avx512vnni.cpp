// SPDX-License-Identifier: Apache-2.0
// gemm_bsr16x4_s8 for AVX-512 VNNI (vpdpbusd, zmm). Twelve rows share a block: twelve sums cover
// the latency of 5 cycles at two dot products a cycle, which 13 loads allow. Fewer rows take
// several blocks at a time, each with sums of its own.
#include "kernels/common/compiler.h"
#include "kernels/common/four_bytes.h"
#include "kernels/common/x86.h"
#include "kernels/gemm_bsr16x4_s8/kernel.h"

namespace octavo {
namespace {

// The first rows of a call wait for b; see gemm_s8/avx2.cpp.
constexpr int64_t kAhead = 4096;

static inline __m512i broadcast4(const uint8_t* p) { return _mm512_set1_epi32(four_bytes(p)); }

template <int Rows, int Chains>
static inline void panel(const GemmBsr16x4S8Args& args, int p, int m0) {
  const uint8_t* a = args.a + m0 * args.a_stride;
  __m512i sum[Chains][Rows];
  OCTAVO_UNROLL
  for (int j = 0; j < Chains; ++j) {
    OCTAVO_UNROLL
    for (int i = 0; i < Rows; ++i) sum[j][i] = _mm512_setzero_si512();
  }
  const uint32_t first = args.b.first[p];
  const int8_t* code = args.b.code + 64 * (int64_t)first;
  const uint16_t* index = args.b.index + first;
  uint32_t left = args.b.first[p + 1] - first;
  for (; left >= Chains; left -= Chains) {
    OCTAVO_UNROLL
    for (int j = 0; j < Chains; ++j) {
      if (m0 == 0) _mm_prefetch((const char*)(code + 64 * j + kAhead), _MM_HINT_T0);
      const __m512i b = _mm512_loadu_si512(code + 64 * j);
      const uint8_t* at = a + 4 * (int64_t)index[j];
      OCTAVO_UNROLL
      for (int i = 0; i < Rows; ++i) {
        sum[j][i] = _mm512_dpbusd_epi32(sum[j][i], broadcast4(at + i * args.a_stride), b);
      }
    }
    code += 64 * Chains;
    index += Chains;
  }
  for (; left > 0; --left) {
    const __m512i b = _mm512_loadu_si512(code);
    const uint8_t* at = a + 4 * (int64_t)*index;
    OCTAVO_UNROLL
    for (int i = 0; i < Rows; ++i) {
      sum[0][i] = _mm512_dpbusd_epi32(sum[0][i], broadcast4(at + i * args.a_stride), b);
    }
    code += 64;
    ++index;
  }
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    OCTAVO_UNROLL
    for (int j = 1; j < Chains; ++j) sum[0][i] = _mm512_add_epi32(sum[0][i], sum[j][i]);
    _mm512_storeu_si512(args.c + (m0 + i) * args.c_stride + 16 * p, sum[0][i]);
  }
}

}  // namespace

void gemm_bsr16x4_u8s8s32_12x16x4_avx512vnni(const GemmBsr16x4S8Args& args) noexcept {
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
