// SPDX-License-Identifier: Apache-2.0
// What gemm_groups reads of panels at once: all inputs as they lie, or parts unpacked into bytes.
#pragma once
#include "kernels/gemm_groups/kernel.h"

namespace octavo {
namespace {

// Inputs [begin, end) of a panel as bytes, b_stride of them from panel to panel; whole groups, but
// for the last.
struct Part {
  int begin, end;
  const uint8_t* b;
  int64_t b_stride;
};

// All inputs of panels from p on, as they lie.
static inline Part whole_part(const GemmGroupsArgs& args, int p) {
  return {0, args.k, args.b + p * args.b_panel_stride, args.b_panel_stride};
}

// Calls multiply(part) for parts of panels from p on, which fill scratch one after the other, made
// by unpack(b, b_high, inputs, out) of what a panel has of them; b_high is null but for 5 bits.
template <int Panels, class Unpack, class Multiply>
static inline void each_unpacked_part(const GemmGroupsArgs& args, int p, const Unpack& unpack,
                                      const Multiply& multiply) {
  constexpr int kInputs = kUnpackedBytes / (16 * Panels) / 128 * 128;
  for (int begin = 0; begin < args.k; begin += kInputs) {
    const int end = args.k - begin < kInputs ? args.k : begin + kInputs;
    for (int j = 0; j < Panels; ++j) {
      const uint8_t* high =
          args.bits == 5 ? args.b_high + (p + j) * args.b_high_stride + 2 * (int64_t)begin : 0;
      unpack(args.b + (p + j) * args.b_panel_stride + 8 * (int64_t)begin, high, end - begin,
             args.scratch + 16 * j * kInputs);
    }
    multiply(Part{begin, end, args.scratch, 16 * kInputs});
  }
}

}  // namespace
}  // namespace octavo
