// SPDX-License-Identifier: Apache-2.0
// Kernel family attention_codes: rows of one head (q, k or v of tokens) to symmetric codes.
//
//   largest = max|x|; unit = max(largest / 127, FLT_MIN); code = rint(x * (1 / unit))
//   scale = unit, 0 for a row of zeros, NaN (and codes 0) for a row with a NaN or an infinity
//
// Rows are short and many: sixteen of them share the arithmetic on scales. Bytes behind d stay as
// they are.
#pragma once
#include <stdint.h>

#include "kernels/gemm_s8/kernel.h"

namespace octavo {

struct AttentionCodesArgs {
  const float* x;
  int64_t x_stride;  // elements
  int32_t m;
  int32_t d;
  ActivationEncoding form;
  uint8_t* codes;
  int64_t codes_stride;  // bytes
  int64_t abs_offset;
  float* scale;
};

}  // namespace octavo
