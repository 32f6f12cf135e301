// SPDX-License-Identifier: Apache-2.0
// gemm_s8 for AVX2, two ways to stay exact where vpmaddubsw saturates its int16 pair sums.
//
// 3x16x4: a*b = |a| * (b with a's sign). With |a| <= 128 and |b| <= 127 a pair sum is at most
// 32512, so vpmaddubsw never saturates. |a| is stored beside a when rows are quantized; taking it
// here would cost one more vector operation per row and group, of nine.
//   Where the weights of two groups are small enough (GroupOrder) their pair sums are added as
//   int16 before vpmaddwd: 7 vector operations and 3 multiplies for 64 products instead of 8 and 4.
//   Zen 3 (multiplies on two of four vector pipes): 26.3 products a cycle against 22.5, and 28.7
//   for the saturating sequence that is not exact. Registers: 6 sums, 4 of b, 2 of a, 2 of pair
//   sums, 1 of ones, 1 temporary: all 16.
// 2x16x4: for b with -128 in it; widens both sides to int16 and uses vpmaddwd.
#include "kernels/common/x86.h"
#include "kernels/gemm_s8/kernel.h"

namespace octavo {
namespace {

static inline __m256i broadcast4(const uint8_t* p) {
  return _mm256_castps_si256(_mm256_broadcast_ss((const float*)p));
}
static inline __m256i load(const void* p) { return _mm256_loadu_si256((const __m256i*)p); }
static inline void store(void* p, __m256i v) { _mm256_storeu_si256((__m256i*)p, v); }

// The first rows of a call wait for b; a page ahead, one row of 4096x4096 takes 0.63x the time and
// eight rows 0.85x. Later rows find b in L1.
constexpr int64_t kPrefetch = 4096;

constexpr uint8_t kInOrder[GroupOrder::kGroups] = {
    0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
    22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
    44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};

static inline __m256i pair_sums(__m256i a, __m256i a_abs, __m256i b) {
  return _mm256_maddubs_epi16(a_abs, _mm256_sign_epi8(b, a));
}

static inline __m256i add_pairs(__m256i sum, __m256i pairs) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

// The sums are local arrays of one function: behind a reference GCC keeps them in memory.
template <int Rows>
static inline void block_sign(const GemmS8Args& args, int m0, int p) {
  int32_t* c = args.c + m0 * args.c_stride + 16 * p;
  const uint8_t* a[Rows];
  const uint8_t* a_abs[Rows];
  __m256i sum[Rows][2];
  for (int i = 0; i < Rows; ++i) {
    a[i] = args.a + (m0 + i) * args.a_stride;
    a_abs[i] = a[i] + args.a_abs_offset;
    int32_t* row = c + i * args.c_stride;
    sum[i][0] = args.accumulate ? load(row) : _mm256_setzero_si256();
    sum[i][1] = args.accumulate ? load(row + 8) : _mm256_setzero_si256();
  }
  // The first rows of a call bring b into L1, and the prefetcher wants that in sequence.
  const bool ordered = m0 > 0 && args.b_orders != nullptr;
  const GroupOrder* order = ordered ? args.b_orders + p * args.b_orders_stride : nullptr;
  const int8_t* b = args.b + p * args.b_panel_stride;
  for (int done = 0; done < args.k_groups; done += GroupOrder::kGroups) {
    const int left = args.k_groups - done;
    const int groups = left < GroupOrder::kGroups ? left : GroupOrder::kGroups;
    const uint8_t* next = ordered ? order->group : kInOrder;
    const uint8_t* const pairs_end = next + (ordered ? 2 * order->pairs : 0);
    const uint8_t* const end = next + groups;
    for (; next < pairs_end; next += 2) {
      const int64_t g = next[0], h = next[1];
      const __m256i b0 = load(b + 64 * g), b1 = load(b + 64 * g + 32);
      const __m256i b2 = load(b + 64 * h), b3 = load(b + 64 * h + 32);
      for (int i = 0; i < Rows; ++i) {
        __m256i x = broadcast4(a[i] + 4 * g), x_abs = broadcast4(a_abs[i] + 4 * g);
        const __m256i pairs0 = pair_sums(x, x_abs, b0), pairs1 = pair_sums(x, x_abs, b1);
        x = broadcast4(a[i] + 4 * h), x_abs = broadcast4(a_abs[i] + 4 * h);
        sum[i][0] = add_pairs(sum[i][0], _mm256_add_epi16(pairs0, pair_sums(x, x_abs, b2)));
        sum[i][1] = add_pairs(sum[i][1], _mm256_add_epi16(pairs1, pair_sums(x, x_abs, b3)));
      }
    }
    for (; next < end; ++next) {
      const int64_t g = next[0];
      const __m256i b0 = load(b + 64 * g), b1 = load(b + 64 * g + 32);
      if (m0 == 0) _mm_prefetch((const char*)(b + 64 * g + kPrefetch), _MM_HINT_T0);
      for (int i = 0; i < Rows; ++i) {
        const __m256i x = broadcast4(a[i] + 4 * g), x_abs = broadcast4(a_abs[i] + 4 * g);
        sum[i][0] = add_pairs(sum[i][0], pair_sums(x, x_abs, b0));
        sum[i][1] = add_pairs(sum[i][1], pair_sums(x, x_abs, b1));
      }
    }
    b += 64 * GroupOrder::kGroups;
    for (int i = 0; i < Rows; ++i) {
      a[i] += 4 * GroupOrder::kGroups;
      a_abs[i] += 4 * GroupOrder::kGroups;
    }
    if (ordered) ++order;
  }
  for (int i = 0; i < Rows; ++i) {
    int32_t* row = c + i * args.c_stride;
    store(row, sum[i][0]);
    store(row + 8, sum[i][1]);
  }
}

// Each register of sums holds four columns as two partial sums; they meet at the end.
template <int Rows>
static inline void block_widen(const GemmS8Args& args, int m0, int p) {
  const uint8_t* a = args.a + m0 * args.a_stride;
  const int8_t* b = args.b + p * args.b_panel_stride;
  int32_t* c = args.c + m0 * args.c_stride + 16 * p;
  __m256i sum[Rows][4];
  for (int i = 0; i < Rows; ++i) {
    for (int j = 0; j < 4; ++j) sum[i][j] = _mm256_setzero_si256();
  }
  for (int g = 0; g < args.k_groups; ++g) {
    __m256i b16[4];
    for (int j = 0; j < 4; ++j) {
      b16[j] =
          _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)(b + 64 * (int64_t)g + 16 * j)));
    }
    for (int i = 0; i < Rows; ++i) {
      const __m128i x =
          _mm_castps_si128(_mm_broadcast_ss((const float*)(a + i * args.a_stride + 4 * g)));
      const __m256i x16 = _mm256_cvtepi8_epi16(x);
      for (int j = 0; j < 4; ++j) {
        sum[i][j] = _mm256_add_epi32(sum[i][j], _mm256_madd_epi16(x16, b16[j]));
      }
    }
  }
  for (int i = 0; i < Rows; ++i) {
    int32_t* row = c + i * args.c_stride;
    for (int h = 0; h < 2; ++h) {
      const __m256i pair = _mm256_hadd_epi32(sum[i][2 * h], sum[i][2 * h + 1]);
      __m256i full = _mm256_permute4x64_epi64(pair, 0xd8);
      if (args.accumulate) full = _mm256_add_epi32(full, load(row + 8 * h));
      store(row + 8 * h, full);
    }
  }
}

}  // namespace

void gemm_s8s8s32_3x16x4_avx2(const GemmS8Args& args) noexcept {
  for (int p = 0; p < args.panels; ++p) {
    int m = 0;
    for (; m + 3 <= args.m; m += 3) block_sign<3>(args, m, p);
    if (args.m - m == 2) block_sign<2>(args, m, p);
    if (args.m - m == 1) block_sign<1>(args, m, p);
  }
}

void gemm_s8s8s32_2x16x4_avx2(const GemmS8Args& args) noexcept {
  for (int p = 0; p < args.panels; ++p) {
    int m = 0;
    for (; m + 2 <= args.m; m += 2) block_widen<2>(args, m, p);
    if (m < args.m) block_widen<1>(args, m, p);
  }
}

}  // namespace octavo
