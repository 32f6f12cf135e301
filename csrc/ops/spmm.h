// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include "weights/sliced_f32.h"

namespace octavo {

// A matrix at any strides, in elements.
template <class T>
struct Strided {
  T* data;
  std::int64_t row_stride;
  std::int64_t column_stride;
};

// out (n, m) = a (n, k) @ x (k, m), float32. Each element is the sum of its row's products, columns
// ascending, from +0; the bits depend on neither m, nor strides, threads or tier.
void spmm(const SlicedF32& a, std::int64_t m, Strided<const float> x, Strided<float> out);

}  // namespace octavo
