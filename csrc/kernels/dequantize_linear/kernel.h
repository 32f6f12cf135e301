// SPDX-License-Identifier: Apache-2.0
// Kernel family dequantize_linear: codes to floats, as ONNX DequantizeLinear.
//
//   y[r][i] = float32(q[r][i] - zero_point) * scale     (difference exact; int32 codes wrap)
//
// scale and y are float32, or both float16: then the float32 product is rounded to float16.
// Rows, parameters, tails and `stream` are those of quantize_linear.
#pragma once
#include <stdint.h>

#include "kernels/common/elements.h"

namespace octavo {

struct DequantizeLinearArgs {
  CodeType code_type;
  FloatType float_type;
  const void* q;
  const void* scale;       // of float_type
  const void* zero_point;  // of code_type, or null for zero
  void* y;
  int64_t rows;
  int64_t n;
  int64_t parameter_step;  // elements
  bool per_element;
  bool stream;
};

}  // namespace octavo
