// SPDX-License-Identifier: Apache-2.0
// gemm_s8 for AVX2, two ways to stay exact where vpmaddubsw saturates its int16 pair sums.
//
// 3x16x4: a*b = |a| * (b with a's sign). With |a| <= 128 and |b| <= 127 a pair sum is at most
// 32512, so vpmaddubsw never saturates. |a| is stored beside a when rows are quantized; taking it
// here would cost one more vector operation per row and group, of nine.
//   Where the weights of two groups are small enough (GroupOrder) their pair sums are added as int16
//   before vpmaddwd: 7 vector operations and 3 multiplies for 64 products instead of 8 and 4. Zen 3
//   (multiplies on two of four vector pipes): 26.3 products a cycle against 22.5, and 28.7 for the
//   saturating sequence that is not exact. One row is bound by memory and takes groups as they lie.
//   Registers: 6 sums, 4 of b, 2 of a, 2 of pair sums, 1 of ones, 1 temporary: all 16.
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

static inline __m256i pair_sums(__m256i a, __m256i a_abs, __m256i b) {
  return _mm256_maddubs_epi16(a_abs, _mm256_sign_epi8(b, a));
}

template <int Rows>
struct SignBlock {
  const uint8_t* a[Rows];
  const uint8_t* a_abs[Rows];
  __m256i sum[Rows][2];
  __m256i ones;

  // Adds the four-sums of int16 pair sums.
  inline void add(int i, int j, __m256i pairs) {
    sum[i][j] = _mm256_add_epi32(sum[i][j], _mm256_madd_epi16(pairs, ones));
  }

  inline void group(const int8_t* b, int64_t k) {
    const __m256i b0 = load(b), b1 = load(b + 32);
    for (int i = 0; i < Rows; ++i) {
      const __m256i x = broadcast4(a[i] + k), x_abs = broadcast4(a_abs[i] + k);
      add(i, 0, pair_sums(x, x_abs, b0));
      add(i, 1, pair_sums(x, x_abs, b1));
    }
  }

  // Groups g and h, whose pair sums may be added as int16.
  inline void two_groups(const int8_t* b, int64_t k, int64_t g, int64_t h) {
    const __m256i b0 = load(b + 64 * g), b1 = load(b + 64 * g + 32);
    const __m256i b2 = load(b + 64 * h), b3 = load(b + 64 * h + 32);
    for (int i = 0; i < Rows; ++i) {
      __m256i x = broadcast4(a[i] + k + 4 * g), x_abs = broadcast4(a_abs[i] + k + 4 * g);
      __m256i pairs0 = pair_sums(x, x_abs, b0), pairs1 = pair_sums(x, x_abs, b1);
      x = broadcast4(a[i] + k + 4 * h), x_abs = broadcast4(a_abs[i] + k + 4 * h);
      pairs0 = _mm256_add_epi16(pairs0, pair_sums(x, x_abs, b2));
      pairs1 = _mm256_add_epi16(pairs1, pair_sums(x, x_abs, b3));
      add(i, 0, pairs0);
      add(i, 1, pairs1);
    }
  }

  inline void ordered(const int8_t* b, int64_t k, int groups, const GroupOrder& order) {
    int i = 0;
    for (; i < 2 * order.pairs; i += 2) two_groups(b, k, order.group[i], order.group[i + 1]);
    for (; i < groups; ++i) group(b + 64 * (int64_t)order.group[i], k + 4 * order.group[i]);
  }
};

template <int Rows>
static inline void block_sign(const GemmS8Args& args, int m0, int p) {
  SignBlock<Rows> block;
  int32_t* c = args.c + m0 * args.c_stride + 16 * p;
  block.ones = _mm256_set1_epi16(1);
  for (int i = 0; i < Rows; ++i) {
    block.a[i] = args.a + (m0 + i) * args.a_stride;
    block.a_abs[i] = block.a[i] + args.a_abs_offset;
    int32_t* row = c + i * args.c_stride;
    block.sum[i][0] = args.accumulate ? load(row) : _mm256_setzero_si256();
    block.sum[i][1] = args.accumulate ? load(row + 8) : _mm256_setzero_si256();
  }
  const int8_t* b = args.b + p * args.b_panel_stride;
  if (Rows == 1 || args.b_orders == nullptr) {
    for (int64_t g = 0; g < args.k_groups; ++g) block.group(b + 64 * g, 4 * g);
  } else {
    const GroupOrder* order = args.b_orders + p * args.b_orders_stride;
    for (int g = 0; g < args.k_groups; g += GroupOrder::kGroups, ++order) {
      const int left = args.k_groups - g;
      const int groups = left < GroupOrder::kGroups ? left : GroupOrder::kGroups;
      block.ordered(b + 64 * (int64_t)g, 4 * (int64_t)g, groups, *order);
    }
  }
  for (int i = 0; i < Rows; ++i) {
    int32_t* row = c + i * args.c_stride;
    store(row, block.sum[i][0]);
    store(row + 8, block.sum[i][1]);
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
      b16[j] = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)(b + 64 * (int64_t)g + 16 * j)));
    }
    for (int i = 0; i < Rows; ++i) {
      const __m128i x = _mm_castps_si128(_mm_broadcast_ss((const float*)(a + i * args.a_stride + 4 * g)));
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
