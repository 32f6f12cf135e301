// SPDX-License-Identifier: Apache-2.0
// widen over sixteen lanes; a tier's file includes its lanes first.
#pragma once
#include "kernels/widen/kernel.h"

namespace octavo {
namespace {

template <bool Bfloat>
static inline void widen_all(const WidenArgs& args) {
  int64_t i = 0;
  for (; i + 16 <= args.n; i += 16) {
    store(args.y + i, Bfloat ? load_bfloat(args.x + i) : load_half(args.x + i));
  }
  if (i == args.n) return;
  const int rest = (int)(args.n - i);
  store_n(args.y + i, Bfloat ? load_bfloat_n(args.x + i, rest) : load_half_n(args.x + i, rest),
          rest);
}

static inline void widen_generic(const WidenArgs& args) {
  if (args.bfloat) {
    widen_all<true>(args);
  } else {
    widen_all<false>(args);
  }
}

}  // namespace

void OCTAVO_LANES16(widen_f32)(const WidenArgs& args) noexcept { widen_generic(args); }

}  // namespace octavo
