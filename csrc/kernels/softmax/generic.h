// SPDX-License-Identifier: Apache-2.0
// softmax over sixteen lanes; a tier's file includes its lanes first.
#pragma once
#include "kernels/common/softmax16.h"
#include "kernels/softmax/kernel.h"

namespace octavo {
namespace {

static inline void softmax_generic(const SoftmaxArgs& args) {
  constexpr int kRows = 4;
  int64_t r = 0;
  for (; r + kRows <= args.m; r += kRows) {
    softmax_rows<kRows>(args.x + r * args.x_stride, args.x_stride, args.n,
                        args.out + r * args.out_stride, args.out_stride);
  }
  for (; r < args.m; ++r) {
    softmax_rows<1>(args.x + r * args.x_stride, args.x_stride, args.n,
                    args.out + r * args.out_stride, args.out_stride);
  }
}

}  // namespace

void OCTAVO_LANES16(softmax_f32)(const SoftmaxArgs& args) noexcept { softmax_generic(args); }

}  // namespace octavo
