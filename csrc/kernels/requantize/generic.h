// SPDX-License-Identifier: Apache-2.0
// requantize over sixteen lanes; a tier's file includes its lanes first.
#pragma once
#include "kernels/common/requantize16.h"
#include "kernels/requantize/kernel.h"

namespace octavo {
namespace {

// Columns [n0, n0 + 16) of a row.
static OCTAVO_INLINE I16 codes_of(const RequantizeArgs& args, const int32_t* sums, int n0,
                                  const CodeRange& range) {
  const I16 sum = add_i(load_i(sums + n0), load_i(args.offset + n0));
  return requantized(sum, load(args.multiplier + n0), range);
}

static inline void requantize_row(const RequantizeArgs& args, const int32_t* sums, int8_t* out,
                                  const CodeRange& range) {
  int n0 = 0;
  for (; n0 + 64 <= args.n; n0 += 64) {
    const I16 a = codes_of(args, sums, n0, range), b = codes_of(args, sums, n0 + 16, range);
    const I16 c = codes_of(args, sums, n0 + 32, range), d = codes_of(args, sums, n0 + 48, range);
    store_bytes((uint8_t*)out + n0, saturated_s8(a, b, c, d));
  }
  for (; n0 + 16 <= args.n; n0 += 16) store_s8(out + n0, codes_of(args, sums, n0, range));
  if (n0 == args.n) return;
  const int rest = args.n - n0;
  const I16 sum = add_i(load_i(sums + n0), load_i_n(args.offset + n0, rest));
  store_s8_n(out + n0, requantized(sum, load_n(args.multiplier + n0, rest), range), rest);
}

}  // namespace

void OCTAVO_LANES16(requantize_s32s8)(const RequantizeArgs& given) noexcept {
  const RequantizeArgs args = given;  // a store may change what a reference leads to
  const CodeRange range = {set1(args.low), set1(args.high), set1_i(args.zero_point)};
  for (int m = 0; m < args.m; ++m) {
    requantize_row(args, args.sums + m * args.sums_stride, args.out + m * args.out_stride, range);
  }
}

}  // namespace octavo
