// SPDX-License-Identifier: Apache-2.0
// requantize over sixteen lanes; a tier's file includes its lanes first.
#pragma once
#include "kernels/common/requantize16.h"
#include "kernels/requantize/kernel.h"

namespace octavo {
namespace {

static inline void requantize_row(const RequantizeArgs& args, const int32_t* sums, int8_t* out,
                                  const CodeRange& range) {
  const auto sum = [&](int n) { return add_i(load_i(sums + n), load_i(args.offset + n)); };
  const auto by = [&](int n) { return load(args.multiplier + n); };
  int n0 = 0;
  for (; n0 + 64 <= args.n; n0 += 64) {
    const B64 codes = requantized(sum(n0), by(n0), sum(n0 + 16), by(n0 + 16), sum(n0 + 32),
                                  by(n0 + 32), sum(n0 + 48), by(n0 + 48), range);
    store_bytes((uint8_t*)out + n0, codes);
  }
  for (; n0 + 16 <= args.n; n0 += 16) {
    store_s8(out + n0, requantized(sum(n0), by(n0), range));
  }
  if (n0 == args.n) return;
  const int rest = args.n - n0;
  const I16 last = add_i(load_i(sums + n0), load_i_n(args.offset + n0, rest));
  store_s8_n(out + n0, requantized(last, load_n(args.multiplier + n0, rest), range), rest);
}

}  // namespace

void OCTAVO_LANES16(requantize_s32s8)(const RequantizeArgs& given) noexcept {
  const RequantizeArgs args = given;  // a store may change what a reference leads to
  const CodeRange range = code_range(args.low, args.high, args.zero_point);
  for (int m = 0; m < args.m; ++m) {
    requantize_row(args, args.sums + m * args.sums_stride, args.out + m * args.out_stride, range);
  }
}

}  // namespace octavo
