// SPDX-License-Identifier: Apache-2.0
// activation over sixteen lanes; a tier's file includes its lanes first.
#pragma once
#include "kernels/activation/kernel.h"
#include "kernels/common/activation16.h"

namespace octavo {
namespace {

template <Activation A>
struct ActivationRun {
  static void run(const ActivationArgs& args) {
    int64_t i = 0;
    for (; i + 16 <= args.n; i += 16) store(args.out + i, activate<A>(load(args.x + i)));
    if (i == args.n) return;
    const int rest = (int)(args.n - i);
    store_n(args.out + i, activate<A>(load_n(args.x + i, rest)), rest);
  }
};

}  // namespace

void OCTAVO_LANES16(activation_f32)(const ActivationArgs& args) noexcept {
  with_activation<ActivationRun>(args.activation, args);
}

}  // namespace octavo
