// SPDX-License-Identifier: Apache-2.0
// Sixteen int32 sums to int8 codes (see kernels/requantize/kernel.h); include after lanes16_*.h.
#pragma once
#include "kernels/common/compiler.h"

namespace octavo {
namespace {

// What is the same for all columns.
struct CodeRange {
  F16 low, high;
  I16 zero_point;
};

static OCTAVO_INLINE I16 requantized(I16 sum, F16 multiplier, const CodeRange& range) {
  const F16 t = mul(to_float(sum), multiplier);
  return add_i(to_int(least(most(t, range.low), range.high)), range.zero_point);
}

}  // namespace
}  // namespace octavo
