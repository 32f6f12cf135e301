// SPDX-License-Identifier: Apache-2.0
// What kernels must compute, one element at a time in plain float32: each operation rounds once,
// std::fma as well (this directory is compiled without contraction to fused multiply-adds).
#pragma once
#include <cstdint>
#include <vector>

#include "kernels/common/elements.h"
#include "kernels/epilogue/kernel.h"

namespace octavo_test {

float exp_of(float x);
float activation_of(octavo::Activation activation, float x);
const char* name_of(octavo::Activation activation);

// Sixteen lanes from +0, folded by halves.
float row_sum(const std::vector<float>& values);
float row_sum_of_squares(const std::vector<float>& values);
std::vector<float> softmax_of(const std::vector<float>& row);

// clip(rint(q) + zero_point, low, high), with q = 0 for NaN.
std::int64_t saturated(float q, std::int64_t zero_point, std::int64_t low, std::int64_t high);

struct RowCodes {
  float scale;
  std::int32_t zero_point;
  std::vector<std::int8_t> codes;
};
RowCodes quantized_row(const std::vector<float>& row, bool symmetric);

// IEEE binary16 through double arithmetic.
float from_half(octavo::Half h);
octavo::Half to_half(float x);

}  // namespace octavo_test
