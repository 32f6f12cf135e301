// SPDX-License-Identifier: Apache-2.0
// Kernel family window: outputs of one row of an image, each made of what lies under its window,
// channel by channel. Images are NHWC; output o reads, for 0 <= i < rows and 0 <= j < columns,
//
//   v[i][j] = x[o * step + i * row_stride + j * column_stride + c]
//
// and folds that over (i, j), ascending:
//
//   kMaxS8       the largest code, within low and high
//   kMeanS8      t = float32(sum of v - zero_point) * scale      exact int32: rows * columns < 2^23
//                low, high and code as elementwise has them
//   kMaxF32      t = v > t or v is NaN ? v : t
//   kMeanF32     t = t + v from +0, then t / (rows * columns)
//   kWeightedF32 t = fma(v, w[i][j][c], t) from +0, then t + bias[c]
//                t = low > t ? low : t;  t = high < t ? high : t
//
// Windows are whole: where one meets an edge, the caller gives the part that lies in the image. out
// is not x. Arrays may end exactly at their last channel.
#pragma once
#include <stdint.h>

namespace octavo {

enum class Window : uint8_t { kMaxS8, kMeanS8, kMaxF32, kMeanF32, kWeightedF32 };

struct WindowArgs {
  Window op;
  const void* x;
  int64_t step;  // elements, as all strides
  int64_t row_stride;
  int64_t column_stride;
  int64_t rows;
  int64_t columns;
  const float* w;
  int64_t w_row_stride;
  int64_t w_column_stride;
  const float* bias;
  void* out;
  int64_t out_stride;
  int64_t outputs;
  int64_t channels;
  float scale;
  float low;
  float high;
  int32_t zero_point;
  int32_t out_zero_point;
};

}  // namespace octavo
