// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include "kernels/common/elements.h"
#include "ops/linear.h"
#include "ops/parameter_runs.h"

namespace octavo {

// Plain memory of a type known at run time.
struct FloatData {
  FloatType type;
  const void* data;
};
struct CodeData {
  CodeType type;
  const void* data;
};

std::int64_t element_bytes(FloatType type);
std::int64_t element_bytes(CodeType type);

// codes = saturate(rint(x / scale) + zero_point); scale is of x's type, zero_point of the codes'
// type or null.
void quantize_linear(const ParameterLayout& layout, FloatData x, const void* scale,
                     const void* zero_point, CodeType type, void* codes);

// out = float32(codes - zero_point) * scale, in the type of scale; zero_point may be null.
void dequantize_linear(const ParameterLayout& layout, CodeData codes, FloatData scale,
                       const void* zero_point, void* out);

// out = float32 of n floats of 16 bits: IEEE binary16, or bfloat16.
void widen(const std::uint16_t* x, bool bfloat, std::int64_t n, float* out);

// Codes (m, k), a scale and a zero point for each row of x.
void quantize_dynamic(std::int64_t m, std::int64_t k, Rows<const float> x, bool symmetric,
                      std::int8_t* codes, float* scale, std::int32_t* zero_point);

// Rows of an int8 table (rows of d codes, one scale each), as float32: out (count, d).
void embedding(const std::int8_t* codes, const float* scale, std::int64_t d,
               const std::int64_t* ids, std::int64_t count, float* out);

}  // namespace octavo
