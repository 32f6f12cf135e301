// SPDX-License-Identifier: Apache-2.0
// Kernel family quantize_linear: floats to codes with given parameters, as ONNX QuantizeLinear.
//
//   y[r][i] = saturate(rint(x[r][i] / scale) + zero_point)          NaN -> zero_point
//
// x and scale are float32, or both float16: then the quotient is rounded to float16 before rint.
// (Two 11-bit significands divided in float32 and rounded again give the float16 quotient exactly.)
// The quotient is clamped to +-2^17 before it becomes an int32; any zero point then still
// saturates.
//
// Row r is n elements after row r - 1. Its parameters start at r * parameter_step and are one for
// the row, or one per element. Arrays may end exactly at their last element. With `stream`, y is
// aligned to 64, there is one row, and whole vectors are stored past the caches.
#pragma once
#include <stdint.h>

#include "kernels/common/elements.h"

namespace octavo {

struct QuantizeLinearArgs {
  FloatType float_type;
  CodeType code_type;  // not kS32
  const void* x;
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
