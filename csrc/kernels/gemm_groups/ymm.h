// SPDX-License-Identifier: Apache-2.0
// gemm_groups with ymm registers, eight columns in each. A tier's file says in a struct Dot how
// four products are added, kInputs inputs at a time:
//   part = Dot::begin(sum); part = Dot::add(part, codes of the weight, codes of a row); ...
//   sum = Dot::end(sum, part)
// Outputs stay in c between groups: registers are for the sums. Many rows unpack a panel first.
#pragma once
#include "kernels/common/compiler.h"
#include "kernels/common/group_numbers16.h"
#include "kernels/gemm_groups/parts.h"

namespace octavo {
namespace {

// Bytes ahead of the stream of few rows. One row of 8192x8192 in groups of 32: 54 GB/s (AVX-VNNI)
// and 53 (AVX2); 36 without.
constexpr int kStreamAhead = 8192;

static inline __m256i load_bytes(const void* p) { return _mm256_loadu_si256((const __m256i*)p); }
static inline __m256i broadcast4(const uint8_t* p) {
  return _mm256_castps_si256(_mm256_broadcast_ss((const float*)p));
}
// The low halves of bytes, or the high ones.
static inline __m256i halves(__m256i v, int high) {
  return _mm256_and_si256(high ? _mm256_srli_epi16(v, 4) : v, _mm256_set1_epi8(15));
}

// Rows x 16 outputs. The sums are local arrays of one function: behind a reference GCC keeps them
// in memory.
template <class Dot, int Rows, bool Unpacked>
static inline void block(const GemmGroupsArgs& args, const Part& inputs, int m0, int p) {
  const uint8_t *b = inputs.b, *a = args.a + m0 * args.a_stride + inputs.begin;
  const NumbersOfPanel b_scale(args.b_scale, p);
  int64_t g = inputs.begin / args.group;
  const float* a_scale = args.a_scale + g * args.a_scale_stride + m0;
  const int32_t* a_base = args.a_base + g * args.a_scale_stride + m0;
  float* c = args.c + m0 * args.c_stride + 16 * p;
  for (int first = inputs.begin; first < inputs.end; first += args.group) {
    __m256i sum[Rows][2];
    OCTAVO_UNROLL
    for (int i = 0; i < Rows; ++i) sum[i][0] = sum[i][1] = _mm256_set1_epi32(a_base[i]);
    const int end = inputs.end - first < args.group ? inputs.end : first + args.group;
    for (int k = first; k < end; k += Dot::kInputs) {
      __m256i part[Rows][2];
      OCTAVO_UNROLL
      for (int i = 0; i < Rows; ++i) {
        part[i][0] = Dot::begin(sum[i][0]);
        part[i][1] = Dot::begin(sum[i][1]);
      }
      for (int eight = 0; eight < Dot::kInputs / 8; ++eight) {
        if (!Unpacked) _mm_prefetch((const char*)(b + kStreamAhead), _MM_HINT_T0);
        const __m256i b0 = load_bytes(b), b1 = load_bytes(b + 32);
        OCTAVO_UNROLL
        for (int half = 0; half < 2; ++half) {
          const __m256i w0 = Unpacked ? load_bytes(b + 64 * half) : halves(b0, half);
          const __m256i w1 = Unpacked ? load_bytes(b + 64 * half + 32) : halves(b1, half);
          OCTAVO_UNROLL
          for (int i = 0; i < Rows; ++i) {
            const __m256i x = broadcast4(a + i * args.a_stride + 4 * half);
            part[i][0] = Dot::add(part[i][0], w0, x);
            part[i][1] = Dot::add(part[i][1], w1, x);
            if (Unpacked) {  // else GCC has two registers for each
              OCTAVO_FORGET_VECTOR(part[i][0]);
              OCTAVO_FORGET_VECTOR(part[i][1]);
            }
          }
        }
        a += 8;
        b += Unpacked ? 128 : 64;
      }
      OCTAVO_UNROLL
      for (int i = 0; i < Rows; ++i) {
        sum[i][0] = Dot::end(sum[i][0], part[i][0]);
        sum[i][1] = Dot::end(sum[i][1], part[i][1]);
      }
    }
    const F16 scales = b_scale[g++];
    OCTAVO_UNROLL
    for (int j = 0; j < 2; ++j) {
      const __m256 scale = j ? scales.hi : scales.lo;
      OCTAVO_UNROLL
      for (int i = 0; i < Rows; ++i) {
        float* y = c + i * args.c_stride + 8 * j;
        const bool fresh = first == 0 && !args.accumulate;
        const __m256 before = fresh ? _mm256_setzero_ps() : _mm256_loadu_ps(y);
        const __m256 both = _mm256_mul_ps(scale, _mm256_set1_ps(a_scale[i]));
        _mm256_storeu_ps(y, _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[i][j]), both, before));
      }
    }
    a_scale += args.a_scale_stride;
    a_base += args.a_scale_stride;
  }
}

// All rows from m0 on, Rows at a time, the last ones by halves of that.
template <class Dot, int Rows, bool Unpacked>
static inline void all_rows(const GemmGroupsArgs& args, const Part& inputs, int m0, int p) {
  for (; m0 + Rows <= args.m; m0 += Rows) block<Dot, Rows, Unpacked>(args, inputs, m0, p);
  if constexpr (Rows > 1) {
    if (m0 < args.m) all_rows<Dot, Rows / 2, Unpacked>(args, inputs, m0, p);
  }
}

// Eight inputs, the low halves of bytes and the high ones; each with its bit of `high`, if there is
// one.
static inline void unpack(const uint8_t* b, const uint8_t* high, int inputs, uint8_t* out) {
  for (int k = 0; k < inputs; k += 8) {
    _mm_prefetch((const char*)(b + 8 * k + kStreamAhead), _MM_HINT_T0);
    __m256i codes[4] = {};
    OCTAVO_UNROLL
    for (int j = 0; j < 4; ++j) codes[j] = halves(load_bytes(b + 8 * k + 32 * (j % 2)), j / 2);
    if (high) {
      // Bit t of each byte comes to bit 4 of sixteen of them, bit t + 1 to that of the next ones.
      const __m128i bits = _mm_loadu_si128((const __m128i*)(high + 2 * k));
      const __m256i pairs = _mm256_set_m128i(_mm_srli_epi16(bits, 1), bits);
      const __m256i bit = _mm256_set1_epi8(16);
      const __m256i turned[4] = {_mm256_slli_epi16(pairs, 4), _mm256_slli_epi16(pairs, 2), pairs,
                                 _mm256_srli_epi16(pairs, 2)};
      OCTAVO_UNROLL
      for (int j = 0; j < 4; ++j) {
        codes[j] = _mm256_or_si256(codes[j], _mm256_and_si256(turned[j], bit));
      }
    }
    OCTAVO_UNROLL
    for (int j = 0; j < 4; ++j) _mm256_storeu_si256((__m256i*)(out + 16 * k + 32 * j), codes[j]);
  }
}

// Rows at a time of a packed panel, and of an unpacked one, which wants no registers for that.
template <class Dot, class Dot5, class Dot8, int Rows, int UnpackedRows>
static inline void gemm(const GemmGroupsArgs& args) {
  for (int p = 0; p < args.panels; ++p) {
    if (args.bits == 8) {
      all_rows<Dot8, UnpackedRows, true>(args, whole_part(args, p), 0, p);
    } else if (args.bits == 5) {
      each_unpacked_part<1>(args, p, unpack, [&](const Part& part) {
        all_rows<Dot5, UnpackedRows, true>(args, part, 0, p);
      });
    } else if (args.m <= Rows) {
      all_rows<Dot, Rows, false>(args, whole_part(args, p), 0, p);
    } else {
      each_unpacked_part<1>(args, p, unpack, [&](const Part& part) {
        all_rows<Dot, UnpackedRows, true>(args, part, 0, p);
      });
    }
  }
}

}  // namespace
}  // namespace octavo
