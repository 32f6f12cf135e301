// SPDX-License-Identifier: Apache-2.0
// gemm_s8 for AVX-512 VNNI (vpdpbusd, zmm): uint8 codes times int8 weights, exact in int32.
// Registers: 8 rows x 3 panels = 24 sums, 3 of b, 1 broadcast of a: 28 of 32. A group costs 24 dot
// products against 11 loads, so two loads a cycle never bind.
// One row (decode) takes the panels one by one: a single stream of bytes, which comes at the speed
// of memory. In eight chains of sums it is as fast from L2 as four panels at a time, from L3 0.9
// times. So do up to seven rows of a weight that L2 cannot hold; from there they would be slower.
#include "kernels/common/compiler.h"
#include "kernels/common/four_bytes.h"
#include "kernels/common/x86.h"
#include "kernels/gemm_s8/kernel.h"

namespace octavo {
namespace {

constexpr int kPanels = 3;  // at once, but for the last ones
// Bytes ahead of a stream. One row of 135 MB on one thread: 39 GB/s of 41 that are read at best; 33
// with four panels at a time, which are four streams, and those behind them prefetched.
constexpr int64_t kStreamAhead = 8192;
constexpr int64_t kLargeWeight = 4 << 20;
constexpr int kStreamRows = 7;

// Ahead: so many panels behind these are brought into L2. The hardware stops at each page, so that
// rows which meet a weight from memory waited: BERT-base, 1x16 6.3 ms without, 5.2 with (Zen 5).
template <int Rows, int Panels, int Ahead>
static inline void block(const GemmS8Args& args, int m0, int p) {
  const uint8_t* a = args.a + m0 * args.a_stride;
  const int8_t* b = args.b + p * args.b_panel_stride;
  int32_t* c = args.c + m0 * args.c_stride + 16 * p;
  __m512i sum[Rows][Panels];
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    OCTAVO_UNROLL
    for (int j = 0; j < Panels; ++j) {
      sum[i][j] = args.accumulate ? _mm512_loadu_si512(c + i * args.c_stride + 16 * j)
                                  : _mm512_setzero_si512();
    }
  }
  for (int g = 0; g < args.k_groups; ++g) {
    __m512i w[Panels];
    OCTAVO_UNROLL
    for (int j = 0; j < Panels; ++j) w[j] = _mm512_loadu_si512(b + j * args.b_panel_stride);
    OCTAVO_UNROLL
    for (int j = 0; j < Ahead; ++j) OCTAVO_PREFETCH(b + (Panels + j) * args.b_panel_stride);
    b += 64;
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
      _mm512_storeu_si512(c + i * args.c_stride + 16 * j, sum[i][j]);
    }
  }
}

// The rows from m0 on, at most 8.
template <int Panels, int Ahead, int Rows = 8>
static inline void some_rows(const GemmS8Args& args, int m0, int p) {
  if (args.m - m0 >= Rows) return block<Rows, Panels, Ahead>(args, m0, p);
  if constexpr (Rows > 1) some_rows<Panels, Ahead, Rows - 1>(args, m0, p);
}

// All rows, with several chains of sums for each; groups behind the last are zeros of a.
template <int Rows>
static inline void stream(const GemmS8Args& args, int p) {
  constexpr int kChains = Rows == 1 ? 8 : Rows < 4 ? 4 : 2;
  const int8_t* b = args.b + p * args.b_panel_stride;
  int32_t* c = args.c + 16 * p;
  __m512i sum[Rows][kChains];
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    int32_t* row = c + i * args.c_stride;
    sum[i][0] = args.accumulate ? _mm512_loadu_si512(row) : _mm512_setzero_si512();
    OCTAVO_UNROLL
    for (int j = 1; j < kChains; ++j) sum[i][j] = _mm512_setzero_si512();
  }
  for (int g = 0; g < args.k_groups; g += kChains) {
    OCTAVO_UNROLL
    for (int j = 0; j < kChains; ++j) {
      OCTAVO_PREFETCH(b + 64 * j + kStreamAhead);
      const __m512i w = _mm512_loadu_si512(b + 64 * j);
      OCTAVO_UNROLL
      for (int i = 0; i < Rows; ++i) {
        const uint8_t* a = args.a + i * args.a_stride + 4 * (g + j);
        sum[i][j] = _mm512_dpbusd_epi32(sum[i][j], _mm512_set1_epi32(four_bytes(a)), w);
      }
    }
    b += 64 * kChains;
  }
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    OCTAVO_UNROLL
    for (int j = 1; j < kChains; ++j) sum[i][0] = _mm512_add_epi32(sum[i][0], sum[i][j]);
    _mm512_storeu_si512(c + i * args.c_stride, sum[i][0]);
  }
}

template <int Rows = kStreamRows>
static inline void stream_rows(const GemmS8Args& args, int p) {
  if (args.m == Rows) return stream<Rows>(args, p);
  if constexpr (Rows > 1) stream_rows<Rows - 1>(args, p);
}

static inline bool streams(const GemmS8Args& args) {
  const int64_t bytes = (args.panels + args.panels_behind) * args.b_panel_stride;
  return args.m == 1 || (args.m <= kStreamRows && bytes >= kLargeWeight);
}

static inline bool has_behind(const GemmS8Args& args, int p, int panels) {
  return p + panels <= args.panels + args.panels_behind;
}

template <int Panels>
static inline void columns(const GemmS8Args& args, int p) {
  if (has_behind(args, p, Panels + kPanels)) {
    some_rows<Panels, kPanels>(args, 0, p);
  } else {
    some_rows<Panels, 0>(args, 0, p);
  }
  for (int m = 8; m < args.m; m += 8) some_rows<Panels, 0>(args, m, p);
}

}  // namespace

void gemm_u8s8s32_8x48x4_avx512vnni(const GemmS8Args& args) noexcept {
  int p = 0;
  for (; streams(args) && p < args.panels; ++p) stream_rows(args, p);
  for (; p + kPanels <= args.panels; p += kPanels) columns<kPanels>(args, p);
  if (args.panels - p == 2) columns<2>(args, p);
  if (args.panels - p == 1) columns<1>(args, p);
}

}  // namespace octavo
