// SPDX-License-Identifier: Apache-2.0
// Element-wise and row-wise float32 operations, spread over threads.
#pragma once
#include <cstdint>

#include "kernels/epilogue/kernel.h"
#include "ops/linear.h"

namespace octavo {

// out[i] = activation(x[i]) for n elements; out may be x.
void activate(Activation activation, const float* x, std::int64_t n, float* out);

// out = normalised rows of x + residual (m, n), times weight plus bias; residual.data, weight and
// bias may be null.
void layer_norm(std::int64_t m, std::int64_t n, Rows<const float> x, const float* weight,
                const float* bias, float eps, Rows<const float> residual, Rows<float> out);

// out = rows of x (m, n) of mean square 1, times weight plus addend; both may be null.
void rms_norm(std::int64_t m, std::int64_t n, Rows<const float> x, const float* weight, float eps,
              Rows<const float> addend, Rows<float> out);

// Angles of rotary positions: a row of each table per position.
struct RotaryTable {
  const float *cosine, *sine;
  std::int64_t pairs;
};

// out = heads of x (m, heads * d) turned by the angles at each row's position, which the table has.
void rotary(std::int64_t m, std::int64_t heads, std::int64_t d, Rows<const float> x,
            const RotaryTable& table, const std::int64_t* positions, Rows<float> out);

// out = activation(gate) * x, all (m, n).
void gated(Activation activation, std::int64_t m, std::int64_t n, Rows<const float> gate,
           Rows<const float> x, Rows<float> out);

// out = softmax of each row of x (m, n).
void softmax(std::int64_t m, std::int64_t n, Rows<const float> x, Rows<float> out);

}  // namespace octavo
