// SPDX-License-Identifier: Apache-2.0
// gemm_groups for AVX-512 VNNI: codes of the weight are the uint8 operand of vpdpbusd, those of
// rows, broadcast, the int8 one. Registers: 12 sums, 12 outputs, 4 of b, 1 of a: 29 of 32. One row
// takes four panels at a time, as gemm_s8 does, and unpacks halves of bytes in registers: it waits
// for memory. Many rows unpack two panels first: what they then do for 8 inputs is 24 dot products.
#include "kernels/common/compiler.h"
#include "kernels/common/four_bytes.h"
#include "kernels/common/x86.h"
#include "kernels/gemm_groups/parts.h"

namespace octavo {
namespace {

constexpr int kRows = 6, kPanels = 2;

static inline __m512i low_halves(__m512i v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
static inline __m512i high_halves(__m512i v) { return low_halves(_mm512_srli_epi16(v, 4)); }

// Panels from p on, as bytes or packed as they lie. Outputs are read before the first group where
// there are some.
template <int Rows, int Panels, bool Unpacked>
static inline void block(const GemmGroupsArgs& args, const Part& part, int m0, int p) {
  const uint8_t* b = part.b;
  const uint8_t* a = args.a + m0 * args.a_stride;
  const int g = part.begin / args.group;
  const float* b_scale = args.b_scale + p * args.b_scale_stride + 16 * g;
  const float* a_scale = args.a_scale + g * args.a_scale_stride + m0;
  const int32_t* a_base = args.a_base + g * args.a_scale_stride + m0;
  float* c = args.c + m0 * args.c_stride + 16 * p;
  const bool fresh = part.begin == 0 && !args.accumulate;
  __m512 y[Rows][Panels];
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    OCTAVO_UNROLL
    for (int j = 0; j < Panels; ++j) {
      y[i][j] = fresh ? _mm512_setzero_ps() : _mm512_loadu_ps(c + i * args.c_stride + 16 * j);
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
        const __m512i v = _mm512_loadu_si512(b + j * part.b_stride);
        low[j] = Unpacked ? v : low_halves(v);
        high[j] = Unpacked ? _mm512_loadu_si512(b + j * part.b_stride + 64) : high_halves(v);
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
template <int Panels, bool Unpacked, int Rows>
static inline void all_rows(const GemmGroupsArgs& args, const Part& part, int m0, int p) {
  for (; m0 + Rows <= args.m; m0 += Rows) block<Rows, Panels, Unpacked>(args, part, m0, p);
  if constexpr (Rows > 1) {
    if (m0 < args.m) all_rows<Panels, Unpacked, Rows / 2>(args, part, m0, p);
  }
}

static inline void unpack(const uint8_t* b, const uint8_t* high, int inputs, uint8_t* out) {
  for (int k = 0; k < inputs; k += 8) {
    const __m512i v = _mm512_loadu_si512(b + 8 * k);
    __m512i low = low_halves(v), next = high_halves(v);
    if (high) {
      // Bit t of each byte comes to bit 4 of sixteen of them.
      const __m512i bits = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)(high + 2 * k)));
      const __m512i bit = _mm512_set1_epi8(16);
      const __m512i turned = _mm512_rolv_epi64(bits, _mm512_setr_epi64(4, 4, 3, 3, 2, 2, 1, 1));
      const __m512i last = _mm512_rorv_epi64(bits, _mm512_setr_epi64(0, 0, 1, 1, 2, 2, 3, 3));
      low = _mm512_or_si512(low, _mm512_and_si512(turned, bit));
      next = _mm512_or_si512(next, _mm512_and_si512(last, bit));
    }
    _mm512_storeu_si512(out + 16 * k, low);
    _mm512_storeu_si512(out + 16 * k + 64, next);
  }
}

template <int Panels, int Rows>
static inline void columns(const GemmGroupsArgs& args, int p) {
  if (args.bits == 8) return all_rows<Panels, true, Rows>(args, whole_part(args, p), 0, p);
  if (args.bits == 4 && args.m <= Rows) {
    return all_rows<Panels, false, Rows>(args, whole_part(args, p), 0, p);
  }
  each_unpacked_part<Panels>(
      args, p, unpack, [&](const Part& part) { all_rows<Panels, true, Rows>(args, part, 0, p); });
}

}  // namespace

void gemm_groups_s8f32_6x32x8_avx512vnni(const GemmGroupsArgs& args) noexcept {
  int p = 0;
  if (args.m == 1) {
    for (; p + 4 <= args.panels; p += 4) columns<4, 1>(args, p);
  }
  for (; p + kPanels <= args.panels; p += kPanels) columns<kPanels, kRows>(args, p);
  if (p < args.panels) columns<1, kRows>(args, p);
}

}  // namespace octavo
