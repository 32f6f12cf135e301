// SPDX-License-Identifier: Apache-2.0
// gemm_groups for AVX-512 VNNI: codes of the weight are the uint8 operand of vpdpbusd, those of
// rows, broadcast, the int8 one.
//
// Few rows take the panels one by one, as gemm_s8 does: a single stream of bytes, which comes at
// the speed of memory, and unpack halves of bytes in registers. Many rows unpack three panels
// first: what they then do for 4 inputs is 24 dot products, 28 of 32 registers; outputs wait in
// memory, since registers are for the sums.
#include "kernels/common/compiler.h"
#include "kernels/common/four_bytes.h"

#include "kernels/common/lanes16_avx512vnni.h"

#include "kernels/common/group_numbers16.h"
#include "kernels/gemm_groups/parts.h"

namespace octavo {
namespace {

constexpr int kFewRows = 6, kRows = 8, kPanels = 3;
// Bytes ahead of a stream. One row of 8192x8192 in groups of 32: 57 GB/s; 40 without, 46 with 4096.
constexpr int kStreamAhead = 8192;

static inline __m512i low_halves(__m512i v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
static inline __m512i high_halves(__m512i v) { return low_halves(_mm512_srli_epi16(v, 4)); }

// The sums of a group, scaled, on top of y.
static inline __m512 scaled(__m512i sum, __m512 b_scale, float a_scale, __m512 y) {
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_mul_ps(b_scale, _mm512_set1_ps(a_scale)),
                         y);
}

// Codes of 5 bits of 8 inputs, with the highest bits at `high`.
static inline void add_fifth_bits(__m512i& low, __m512i& next, const uint8_t* high) {
  // Bit t of each byte comes to bit 4 of sixteen of them.
  const __m512i bits = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)high));
  const __m512i bit = _mm512_set1_epi8(16);
  const __m512i turned = _mm512_rolv_epi64(bits, _mm512_setr_epi64(4, 4, 3, 3, 2, 2, 1, 1));
  const __m512i last = _mm512_rorv_epi64(bits, _mm512_setr_epi64(0, 0, 1, 1, 2, 2, 3, 3));
  low = _mm512_or_si512(low, _mm512_and_si512(turned, bit));
  next = _mm512_or_si512(next, _mm512_and_si512(last, bit));
}

// All rows with a panel as it lies.
template <int Rows, int Bits>
static inline void stream(const GemmGroupsArgs& args, int p) {
  const uint8_t* b = args.b + p * args.b_panel_stride;
  const uint8_t* b_high = args.b_high + p * args.b_high_stride;
  const NumbersOfPanel b_scale(args.b_scale, p);
  const float* a_scale = args.a_scale;
  const int32_t* a_base = args.a_base;
  float* c = args.c + 16 * p;
  __m512 y[Rows];
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    y[i] = args.accumulate ? _mm512_loadu_ps(c + i * args.c_stride) : _mm512_setzero_ps();
  }
  int64_t g = 0;
  for (int first = 0; first < args.k; first += args.group) {
    __m512i sum[Rows], next[Rows];
    OCTAVO_UNROLL
    for (int i = 0; i < Rows; ++i) {
      sum[i] = _mm512_set1_epi32(a_base[i]);
      next[i] = _mm512_setzero_si512();
    }
    const int end = args.k - first < args.group ? args.k : first + args.group;
    for (int k = first; k < end; k += 32) {
      OCTAVO_UNROLL
      for (int eight = 0; eight < 32; eight += 8) {
        prefetch(b + kStreamAhead);
        if (Bits == 8) prefetch(b + kStreamAhead + 64);
        const __m512i v = _mm512_loadu_si512(b);
        __m512i low = Bits == 8 ? v : low_halves(v);
        __m512i high = Bits == 8 ? _mm512_loadu_si512(b + 64) : high_halves(v);
        b += Bits == 8 ? 128 : 64;
        if (Bits == 5) {
          add_fifth_bits(low, high, b_high);
          b_high += 16;
        }
        OCTAVO_UNROLL
        for (int i = 0; i < Rows; ++i) {
          const uint8_t* x = args.a + i * args.a_stride + k + eight;
          sum[i] = _mm512_dpbusd_epi32(sum[i], low, _mm512_set1_epi32(four_bytes(x)));
          next[i] = _mm512_dpbusd_epi32(next[i], high, _mm512_set1_epi32(four_bytes(x + 4)));
        }
      }
    }
    const __m512 scale = b_scale[g++].v;
    OCTAVO_UNROLL
    for (int i = 0; i < Rows; ++i) {
      y[i] = scaled(_mm512_add_epi32(sum[i], next[i]), scale, a_scale[i], y[i]);
    }
    a_scale += args.a_scale_stride;
    a_base += args.a_scale_stride;
  }
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) _mm512_storeu_ps(c + i * args.c_stride, y[i]);
}

template <int Rows = kFewRows>
static inline void stream_rows(const GemmGroupsArgs& args, int p) {
  if (args.m == Rows) return stream<Rows, 4>(args, p);
  if constexpr (Rows > 1) stream_rows<Rows - 1>(args, p);
}

// Whether few rows read a panel as it lies.
static inline bool streams(const GemmGroupsArgs& args) {
  return args.m <= (args.bits == 4 ? kFewRows : 1);
}

// Rows x 16 * Panels outputs of a part that is bytes.
template <int Rows, int Panels>
static inline void block(const GemmGroupsArgs& args, const Part& part, int m0, int p) {
  const uint8_t *a = args.a + m0 * args.a_stride, *b = part.b;
  int64_t g = part.begin / args.group;
  const float* a_scale = args.a_scale + g * args.a_scale_stride + m0;
  const int32_t* a_base = args.a_base + g * args.a_scale_stride + m0;
  float* c = args.c + m0 * args.c_stride + 16 * p;
  const int64_t c_stride = args.c_stride;
  if (part.begin == 0 && !args.accumulate) {
    OCTAVO_UNROLL
    for (int i = 0; i < Rows * Panels; ++i) {
      _mm512_storeu_ps(c + i / Panels * c_stride + 16 * (i % Panels), _mm512_setzero_ps());
    }
  }
  for (int first = part.begin; first < part.end; first += args.group) {
    __m512i sum[Rows][Panels];
    OCTAVO_UNROLL
    for (int i = 0; i < Rows; ++i) {
      OCTAVO_UNROLL
      for (int j = 0; j < Panels; ++j) {
        sum[i][j] = _mm512_set1_epi32(a_base[i]);
        OCTAVO_FORGET_VECTOR(sum[i][j]);  // else GCC has two registers for each
      }
    }
    const int end = part.end - first < args.group ? part.end : first + args.group;
    for (int k = first; k < end; k += 8) {
      OCTAVO_UNROLL
      for (int four = 0; four < 8; four += 4) {
        __m512i w[Panels];
        OCTAVO_UNROLL
        for (int j = 0; j < Panels; ++j) w[j] = _mm512_loadu_si512(b + j * part.b_stride);
        b += 64;
        OCTAVO_UNROLL
        for (int i = 0; i < Rows; ++i) {
          const uint8_t* x = a + i * args.a_stride + k + four;
          OCTAVO_UNROLL
          for (int j = 0; j < Panels; ++j) {
            sum[i][j] = _mm512_dpbusd_epi32(sum[i][j], w[j], _mm512_set1_epi32(four_bytes(x)));
            OCTAVO_FORGET_VECTOR(sum[i][j]);
          }
        }
      }
    }
    __m512 scale[Panels];
    OCTAVO_UNROLL
    for (int j = 0; j < Panels; ++j) scale[j] = NumbersOfPanel(args.b_scale, p + j)[g].v;
    float* y = c;
    OCTAVO_UNROLL
    for (int i = 0; i < Rows; ++i) {
      OCTAVO_UNROLL
      for (int j = 0; j < Panels; ++j) {
        const __m512 before = _mm512_loadu_ps(y + 16 * j);
        _mm512_storeu_ps(y + 16 * j, scaled(sum[i][j], scale[j], a_scale[i], before));
      }
      y += c_stride;
    }
    ++g;
    a_scale += args.a_scale_stride;
    a_base += args.a_scale_stride;
  }
}

// All rows from m0 on, Rows at a time, the last ones by halves of that.
template <int Panels, int Rows = kRows>
static inline void all_rows(const GemmGroupsArgs& args, const Part& part, int m0, int p) {
  for (; m0 + Rows <= args.m; m0 += Rows) block<Rows, Panels>(args, part, m0, p);
  if constexpr (Rows > 1) {
    if (m0 < args.m) all_rows<Panels, Rows / 2>(args, part, m0, p);
  }
}

static inline void unpack(const uint8_t* b, const uint8_t* high, int inputs, uint8_t* out) {
  for (int k = 0; k < inputs; k += 8) {
    prefetch(b + 8 * k + kStreamAhead);
    const __m512i v = _mm512_loadu_si512(b + 8 * k);
    __m512i low = low_halves(v), next = high_halves(v);
    if (high) add_fifth_bits(low, next, high + 2 * k);
    _mm512_storeu_si512(out + 16 * k, low);
    _mm512_storeu_si512(out + 16 * k + 64, next);
  }
}

template <int Panels>
static inline void columns(const GemmGroupsArgs& args, int p) {
  if (args.bits == 8) return all_rows<Panels>(args, whole_part(args, p), 0, p);
  each_unpacked_part<Panels>(args, p, unpack,
                             [&](const Part& part) { all_rows<Panels>(args, part, 0, p); });
}

}  // namespace

void gemm_groups_s8f32_8x48x8_avx512vnni(const GemmGroupsArgs& args) noexcept {
  int p = 0;
  for (; streams(args) && p < args.panels; ++p) {
    if (args.bits == 4) stream_rows(args, p);
    if (args.bits == 5) stream<1, 5>(args, p);
    if (args.bits == 8) stream<1, 8>(args, p);
  }
  for (; p + kPanels <= args.panels; p += kPanels) columns<kPanels>(args, p);
  for (; p < args.panels; ++p) columns<1>(args, p);
}

}  // namespace octavo
