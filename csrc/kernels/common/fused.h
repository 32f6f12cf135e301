// SPDX-License-Identifier: Apache-2.0
// a * b + c, rounded once, for one value: by the instruction where there is one, else in double.
#pragma once
#include <stdint.h>
#include <string.h>

namespace {

// Without the instruction glibc's fmaf takes 100 ns, this 2. The product is exact in double. Where
// the sum is not, its last bit is made odd, away from any tie between floats, and so the second
// rounding gives what one rounding would.
static inline float fma_in_double(float a, float b, float c) {
  const double product = (double)a * (double)b;
  double sum = product + (double)c;
  const double added = sum - product;
  const double lost = (product - (sum - added)) + ((double)c - added);  // exact; NaN beside inf
  uint64_t bits;
  memcpy(&bits, &sum, 8);
  if ((lost < 0.0 || lost > 0.0) && (bits & 1u) == 0) {
    bits += (lost > 0.0) == (sum > 0.0) ? 1u : ~(uint64_t)0;
    memcpy(&sum, &bits, 8);
  }
  return (float)sum;
}

// GCC says where fmaf is an instruction, Clang for x86 only that the target has it.
static inline float fma1(float a, float b, float c) {
#if defined(__FP_FAST_FMAF) || defined(__FMA__)
  return __builtin_fmaf(a, b, c);
#else
  return fma_in_double(a, b, c);
#endif
}

}  // namespace
