// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include "weights/dense.h"

namespace octavo {

// 8-bit codes at any strides (bytes); unsigned ones are flagged.
struct CodeMatrix {
  const std::uint8_t* data;
  std::int64_t row_stride;
  std::int64_t column_stride;
  bool is_unsigned;
};

// One zero point for all, or one per row of a / column of b.
struct ZeroPoints {
  const std::int32_t* data = nullptr;  // null: zero
  bool per_item = false;

  std::int32_t at(std::int64_t i) const { return data == nullptr ? 0 : data[per_item ? i : 0]; }
};

// out = (a - a_zero_point) @ (b - b_zero_point), int32, for each of `batch` pairs; a_step and
// b_step (bytes, may be 0) lead to the next pair. out is (batch, m, n), contiguous.
void matmul_int8(std::int64_t batch, std::int64_t m, std::int64_t k, std::int64_t n, CodeMatrix a,
                 std::int64_t a_step, CodeMatrix b, std::int64_t b_step, ZeroPoints a_zero_point,
                 ZeroPoints b_zero_point, std::int32_t* out);

// out = a @ b for a right operand that was packed as int8 beforehand; out is (m, n), contiguous.
void matmul_packed(std::int64_t m, CodeMatrix a, const DenseWeight& b, std::int32_t* out);

}  // namespace octavo
