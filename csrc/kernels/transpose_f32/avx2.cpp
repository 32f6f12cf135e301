// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/compiler.h"
#include "kernels/common/x86.h"
#include "kernels/transpose_f32/plain.h"

namespace octavo {
namespace {

// Eight rows of four columns and the next four: halves of the rows are put together while they are
// loaded, which leaves two shuffles for each register, the limit here.
static inline void transpose_8x4(const float* x, int64_t x_stride, float* out, int64_t out_stride) {
  __m256 row[4], pair[4];
  OCTAVO_UNROLL
  for (int i = 0; i < 4; ++i) {
    const __m256 low = _mm256_castps128_ps256(_mm_loadu_ps(x + i * x_stride));
    row[i] = _mm256_insertf128_ps(low, _mm_loadu_ps(x + (i + 4) * x_stride), 1);
  }
  OCTAVO_UNROLL
  for (int i = 0; i < 2; ++i) {
    pair[2 * i] = _mm256_unpacklo_ps(row[2 * i], row[2 * i + 1]);
    pair[2 * i + 1] = _mm256_unpackhi_ps(row[2 * i], row[2 * i + 1]);
  }
  OCTAVO_UNROLL
  for (int i = 0; i < 2; ++i) {
    const __m256 even = _mm256_shuffle_ps(pair[i], pair[i + 2], 0x44);
    const __m256 odd = _mm256_shuffle_ps(pair[i], pair[i + 2], 0xee);
    _mm256_storeu_ps(out + 2 * i * out_stride, even);
    _mm256_storeu_ps(out + (2 * i + 1) * out_stride, odd);
  }
}

}  // namespace

// Sixteen columns at a time: a line of x is used up while it is in L1.
void transpose_f32_f32_avx2(const TransposeF32Args& args) noexcept {
  const int64_t rows = args.rows / 8 * 8, columns = args.columns / 4 * 4;
  for (int64_t j0 = 0; j0 < columns; j0 += 16) {
    const int64_t j1 = j0 + 16 < columns ? j0 + 16 : columns;
    for (int64_t i = 0; i < rows; i += 8) {
      for (int64_t j = j0; j < j1; j += 4) {
        transpose_8x4(args.x + i * args.x_stride + j, args.x_stride,
                      args.out + j * args.out_stride + i, args.out_stride);
      }
    }
  }
  transpose_part(args, 0, rows, columns, args.columns);
  transpose_part(args, rows, args.rows, 0, args.columns);
}

}  // namespace octavo
