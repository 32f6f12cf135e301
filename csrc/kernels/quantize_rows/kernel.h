// SPDX-License-Identifier: Apache-2.0
// Kernel family quantize_rows: float32 rows to the 8-bit codes a gemm_s8 kernel reads.
//
// Dynamic (static_scale == nullptr), per row, in the operation order of python/octavo/_numpy:
//   asymmetric: lo = min(x, 0), hi = max(x, 0); scale = (hi - lo) / 255;
//               zero_point = rint(-128 - lo / scale); code = clip(rint(x / scale) + zero_point)
//   symmetric:  scale = max|x| / 127; zero_point = 0; code = clip(rint(x / scale), -127, 127)
//   (x / scale is taken as x * (1 / scale)); a row with a NaN or an infinity gets scale NaN, so
//   every output of that row is NaN.
// Static: scale and zero_point are given for all rows; code = clip(rint(x / scale) + zero_point).
// With a multiplier, x[k] * multiplier[k], rounded to float32, stands for x[k] in all of this.
//
// A row is read twice, the second time from L1 or L2: the range first, then the codes. Codes are
// written in the form asked for and zero-padded to a multiple of 64 (gemm_s8/kernel.h); the
// zero_point written is that of the form (plus 128 for kU8). kS8Eights is not made here: it is kS8.
#pragma once
#include <stdint.h>

#include "kernels/gemm_s8/kernel.h"

namespace octavo {

struct QuantizeRowsArgs {
  const float* x;
  int64_t x_stride;         // elements
  const float* multiplier;  // k values, or null
  int32_t m;
  int32_t k;
  bool symmetric;
  const float* static_scale;  // one value, or null for dynamic
  int32_t static_zero_point;  // in the signed domain
  ActivationEncoding form;
  uint8_t* a;
  int64_t a_stride;  // bytes; at least k rounded up to 64 (twice that for kSignAbs)
  int64_t a_abs_offset;
  bool pad;  // write the zero padding behind k
  float* scale;
  int32_t* zero_point;
};

}  // namespace octavo
