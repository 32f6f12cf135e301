// SPDX-License-Identifier: Apache-2.0
// gemm_s4 for AVX-512 VNNI: halves of bytes are the uint8 operand of vpdpbusd, the codes of rows,
// broadcast, the int8 one. Registers: 12 sums, 12 outputs, 4 of b, 1 of a: 29 of 32.
// One row takes four panels at a time, as gemm_s8 does, and unpacks in registers: it waits for
// memory. Many rows unpack two panels first: what they then do for 8 inputs is 24 dot products.
#include "kernels/common/compiler.h"
#include "kernels/common/four_bytes.h"
#include "kernels/common/x86.h"
#include "kernels/gemm_s4/kernel.h"

namespace octavo {
namespace {

constexpr int kRows = 6, kPanels = 2;

static inline __m512i low_halves(__m512i v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
static inline __m512i high_halves(__m512i v) { return low_halves(_mm512_srli_epi16(v, 4)); }

// Part of the inputs, whole groups of them, but for the last.
struct Part {
  int begin, end;
};

// Panels from p on; b is at their part, as in args or with a byte for each code, in which 8 inputs
// of a panel are 128.
template <int Rows, int Panels, bool Unpacked>
static inline void block(const GemmS4Args& args, Part part, int m0, int p, const uint8_t* b,
                         int64_t b_stride) {
  const uint8_t* a = args.a + m0 * args.a_stride;
  const int g = part.begin / args.group;
  const float* b_scale = args.b_scale + p * args.b_scale_stride + 16 * g;
  const float* a_scale = args.a_scale + g * args.a_scale_stride + m0;
  const int32_t* a_base = args.a_base + g * args.a_scale_stride + m0;
  float* c = args.c + m0 * args.c_stride + 16 * p;
  __m512 y[Rows][Panels];
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    OCTAVO_UNROLL
    for (int j = 0; j < Panels; ++j) {
      y[i][j] =
          part.begin > 0 ? _mm512_loadu_ps(c + i * args.c_stride + 16 * j) : _mm512_setzero_ps();
    }
  }
  for (int first = part.begin; first < part.end; first += args.group) {
    __m512i sum[Rows][Panels];
    OCTAVO_UNROLL
    for (int i = 0; i < Rows; ++i) {
      OCTAVO_UNROLL
      for (int j = 0; j < Panels; ++j) sum[i][j] = _mm512_set1_epi32(a_base[i]);
    }
    const int end = part.end - first < args.group ? part.end : first + args.group;
    for (int k = first; k < end; k += 8) {
      __m512i low[Panels], high[Panels];
      OCTAVO_UNROLL
      for (int j = 0; j < Panels; ++j) {
        const __m512i v = _mm512_loadu_si512(b + j * b_stride);
        low[j] = Unpacked ? v : low_halves(v);
        high[j] = Unpacked ? _mm512_loadu_si512(b + j * b_stride + 64) : high_halves(v);
      }
      b += Unpacked ? 128 : 64;
      OCTAVO_UNROLL
      for (int i = 0; i < Rows; ++i) {
        const __m512i x = _mm512_set1_epi32(four_bytes(a + i * args.a_stride + k));
        OCTAVO_UNROLL
        for (int j = 0; j < Panels; ++j) sum[i][j] = _mm512_dpbusd_epi32(sum[i][j], low[j], x);
      }
      OCTAVO_UNROLL
      for (int i = 0; i < Rows; ++i) {
        const __m512i x = _mm512_set1_epi32(four_bytes(a + i * args.a_stride + k + 4));
        OCTAVO_UNROLL
        for (int j = 0; j < Panels; ++j) sum[i][j] = _mm512_dpbusd_epi32(sum[i][j], high[j], x);
      }
    }
    OCTAVO_UNROLL
    for (int j = 0; j < Panels; ++j) {
      const __m512 scale = _mm512_loadu_ps(b_scale + j * args.b_scale_stride);
      OCTAVO_UNROLL
      for (int i = 0; i < Rows; ++i) {
        const __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(a_scale[i]));
        y[i][j] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[i][j]), both, y[i][j]);
      }
    }
    b_scale += 16;
    a_scale += args.a_scale_stride;
    a_base += args.a_scale_stride;
  }
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    OCTAVO_UNROLL
    for (int j = 0; j < Panels; ++j) _mm512_storeu_ps(c + i * args.c_stride + 16 * j, y[i][j]);
  }
}

// All rows from m0 on, Rows at a time, the last ones by halves of that.
template <int Panels, bool Unpacked, int Rows = kRows>
static inline void all_rows(const GemmS4Args& args, Part part, int m0, int p, const uint8_t* b,
                            int64_t b_stride) {
  for (; m0 + Rows <= args.m; m0 += Rows) {
    block<Rows, Panels, Unpacked>(args, part, m0, p, b, b_stride);
  }
  if constexpr (Rows > 1) {
    if (m0 < args.m) all_rows<Panels, Unpacked, Rows / 2>(args, part, m0, p, b, b_stride);
  }
}

static inline void unpack(const uint8_t* b, int inputs, uint8_t* out) {
  for (int k = 0; k < inputs; k += 8) {
    const __m512i v = _mm512_loadu_si512(b + 8 * k);
    _mm512_storeu_si512(out + 16 * k, low_halves(v));
    _mm512_storeu_si512(out + 16 * k + 64, high_halves(v));
  }
}

template <int Panels>
static inline void columns(const GemmS4Args& args, int p) {
  const uint8_t* b = args.b + p * args.b_panel_stride;
  if (args.m <= kRows) {
    return all_rows<Panels, false>(args, {0, args.k}, 0, p, b, args.b_panel_stride);
  }
  constexpr int kInputs = kUnpackedBytes / (16 * Panels);
  for (int begin = 0; begin < args.k; begin += kInputs) {
    const Part part = {begin, args.k - begin < kInputs ? args.k : begin + kInputs};
    for (int j = 0; j < Panels; ++j) {
      unpack(b + j * args.b_panel_stride + 8 * (int64_t)begin, part.end - begin,
             args.scratch + 16 * j * kInputs);
    }
    all_rows<Panels, true>(args, part, 0, p, args.scratch, 16 * kInputs);
  }
}

}  // namespace

void gemm_s8s4f32_6x32x8_avx512vnni(const GemmS4Args& args) noexcept {
  int p = 0;
  if (args.m == 1) {
    for (; p + 4 <= args.panels; p += 4) {
      const uint8_t* b = args.b + p * args.b_panel_stride;
      block<1, 4, false>(args, {0, args.k}, 0, p, b, args.b_panel_stride);
    }
  }
  for (; p + kPanels <= args.panels; p += kPanels) columns<kPanels>(args, p);
  if (p < args.panels) columns<1>(args, p);
}

}  // namespace octavo
