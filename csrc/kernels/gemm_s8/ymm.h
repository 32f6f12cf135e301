// SPDX-License-Identifier: Apache-2.0
// gemm_s8 with ymm registers, exact where vpmaddubsw alone would saturate its int16 pair sums.
//
// For a < 0, a*b = |a| * ~b + |a|; so with s = 255 where a < 0 and 0 elsewhere,
//   sum of a*b = sum of |a| * (b ^ s) + sum of (|a| & s),
// and the last sum does not depend on the column. |a| <= 128 and -128 <= b ^ s <= 127 keep a pair
// sum within int16 for every b, -128 included. vpsignb would spare the correction, but it shares
// the multiplier's pipes (Zen 3: 30 products a cycle at best, 38 with vpxor).
//   Where the weights of two groups are small enough (GroupOrder) their pair sums are added as
//   int16 before vpmaddwd: 7 vector operations and 3 multiplies for 64 products instead of 8 and 4.
#pragma once
#include "kernels/common/compiler.h"
#include "kernels/common/x86.h"
#include "kernels/gemm_s8/kernel.h"

namespace octavo {
namespace {

constexpr int kRowsWithBase = 64;

// Bytes ahead, of all panels that are read together. The first rows of a call wait for b: eight
// rows of 4096x4096 take 0.85x the time for it. Later rows find b in L1.
constexpr int64_t kPrefetch = 8192;

constexpr uint8_t kInOrder[GroupOrder::kGroups] = {
    0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
    22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
    44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};

static inline __m256i broadcast4(const uint8_t* p) {
  return _mm256_castps_si256(_mm256_broadcast_ss((const float*)p));
}
static inline __m256i load(const void* p) { return _mm256_loadu_si256((const __m256i*)p); }
static inline void store(void* p, __m256i v) { _mm256_storeu_si256((__m256i*)p, v); }

static inline __m256i pair_sums(__m256i sign, __m256i magnitude, const int8_t* b) {
  return _mm256_maddubs_epi16(magnitude, _mm256_xor_si256(sign, load(b)));
}

static inline __m256i add_pairs(__m256i sum, __m256i pairs) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

// The sum of |a| over negative a, for rows [m0, m0 + rows).
static inline void negative_sums(const GemmS8Args& args, int m0, int rows, int32_t* base) {
  for (int i = 0; i < rows; ++i) {
    const uint8_t* sign = args.a + (m0 + i) * args.a_stride;
    __m256i sum = _mm256_setzero_si256();
    for (int64_t at = 0; at < 4 * (int64_t)args.k_groups; at += 32) {  // rows are padded to 64
      const __m256i negative =
          _mm256_and_si256(load(sign + at), load(sign + args.a_abs_offset + at));
      sum = _mm256_add_epi64(sum, _mm256_sad_epu8(negative, _mm256_setzero_si256()));
    }
    const __m128i half =
        _mm_add_epi64(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    base[i] = _mm_cvtsi128_si32(_mm_add_epi64(half, _mm_unpackhi_epi64(half, half)));
  }
}

// Rows x 16 * Panels sums over all of k; base[i] is what row m0 + i adds to each of its sums.
// The sums are local arrays of one function: behind a reference GCC keeps them in memory.
template <int Rows, int Panels>
static inline void block(const GemmS8Args& args, int m0, int p, const int32_t* base) {
  int32_t* c = args.c + m0 * args.c_stride + 16 * p;
  const int64_t panel = args.b_panel_stride;
  const uint8_t* sign[Rows];
  const uint8_t* magnitude[Rows];
  __m256i sum[Rows][2 * Panels];
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    sign[i] = args.a + (m0 + i) * args.a_stride;
    magnitude[i] = sign[i] + args.a_abs_offset;
    OCTAVO_UNROLL
    for (int j = 0; j < 2 * Panels; ++j) {
      sum[i][j] = _mm256_set1_epi32(base[i]);
      if (args.accumulate)
        sum[i][j] = _mm256_add_epi32(sum[i][j], load(c + i * args.c_stride + 8 * j));
    }
  }
  // The first rows of a call bring b into L1, and the prefetcher wants that in sequence.
  const bool ordered = m0 > 0 && args.b_orders != nullptr;
  const GroupOrder* order = ordered ? args.b_orders + p / 2 * args.b_orders_stride : nullptr;
  const int8_t* b = args.b + p * panel;
  for (int done = 0; done < args.k_groups; done += GroupOrder::kGroups) {
    const int left = args.k_groups - done;
    const int groups = left < GroupOrder::kGroups ? left : GroupOrder::kGroups;
    const uint8_t* next = ordered ? order->group : kInOrder;
    const uint8_t* const pairs_end = next + (ordered ? 2 * order->pairs : 0);
    const uint8_t* const end = next + groups;
    for (; next < pairs_end; next += 2) {
      const int64_t g = next[0], h = next[1];
      const int8_t *bg = b + 64 * g, *bh = b + 64 * h;
      OCTAVO_UNROLL
      for (int i = 0; i < Rows; ++i) {
        const __m256i sign_g = broadcast4(sign[i] + 4 * g), sign_h = broadcast4(sign[i] + 4 * h);
        const __m256i abs_g = broadcast4(magnitude[i] + 4 * g);
        const __m256i abs_h = broadcast4(magnitude[i] + 4 * h);
        OCTAVO_UNROLL
        for (int j = 0; j < 2 * Panels; ++j) {
          const int64_t at = j / 2 * panel + j % 2 * 32;
          const __m256i pairs_g = pair_sums(sign_g, abs_g, bg + at);
          const __m256i pairs_h = pair_sums(sign_h, abs_h, bh + at);
          sum[i][j] = add_pairs(sum[i][j], _mm256_add_epi16(pairs_g, pairs_h));
        }
        OCTAVO_FORGET(bg);
        OCTAVO_FORGET(bh);
      }
    }
    for (; next < end; ++next) {
      const int64_t g = next[0];
      const int8_t* bg = b + 64 * g;
      for (int j = 0; m0 == 0 && j < Panels; ++j) {
        _mm_prefetch((const char*)(bg + j * panel + kPrefetch / Panels), _MM_HINT_T0);
      }
      OCTAVO_UNROLL
      for (int i = 0; i < Rows; ++i) {
        const __m256i sign_g = broadcast4(sign[i] + 4 * g);
        const __m256i abs_g = broadcast4(magnitude[i] + 4 * g);
        OCTAVO_UNROLL
        for (int j = 0; j < 2 * Panels; ++j) {
          const int64_t at = j / 2 * panel + j % 2 * 32;
          sum[i][j] = add_pairs(sum[i][j], pair_sums(sign_g, abs_g, bg + at));
        }
        OCTAVO_FORGET(bg);
      }
    }
    b += 64 * GroupOrder::kGroups;
    OCTAVO_UNROLL
    for (int i = 0; i < Rows; ++i) {
      sign[i] += 4 * GroupOrder::kGroups;
      magnitude[i] += 4 * GroupOrder::kGroups;
    }
    if (ordered) ++order;
  }
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    OCTAVO_UNROLL
    for (int j = 0; j < 2 * Panels; ++j) store(c + i * args.c_stride + 8 * j, sum[i][j]);
  }
}

// One row or two at a time.
template <int Rows, int Panels>
static inline void all_rows(const GemmS8Args& args, int m0, int rows, int p, const int32_t* base) {
  int i = 0;
  for (; i + Rows <= rows; i += Rows) block<Rows, Panels>(args, m0 + i, p, base + i);
  if (i < rows) block<1, Panels>(args, m0 + i, p, base + i);
}

template <int Rows>
static inline void gemm(const GemmS8Args& args) {
  int32_t base[kRowsWithBase];
  for (int m0 = 0; m0 < args.m; m0 += kRowsWithBase) {
    const int rows = args.m - m0 < kRowsWithBase ? args.m - m0 : kRowsWithBase;
    negative_sums(args, m0, rows, base);
    int p = 0;
    // One row (decode): a single stream of bytes. From memory it takes 0.75x the time of two.
    for (; args.m == 1 && p < args.panels; ++p) block<1, 1>(args, 0, p, base);
    for (; p + 2 <= args.panels; p += 2) all_rows<Rows, 2>(args, m0, rows, p, base);
    if (p < args.panels) all_rows<Rows, 1>(args, m0, rows, p, base);
  }
}

}  // namespace
}  // namespace octavo
