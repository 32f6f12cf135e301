// SPDX-License-Identifier: Apache-2.0
// expand_steps over sixteen lanes; a tier's file includes its lanes first.
#pragma once
#include "kernels/expand_steps/kernel.h"

namespace octavo {
namespace {

static inline void expand_steps_generic(const ExpandStepsArgs& args) {
  for (int64_t g = 0; g < args.groups; ++g) {
    const F16 unit = load_half(args.unit + g / kGroupsPerUnit * 16);
    store(args.y + 16 * g, mul(unit, to_float(load_u8(args.steps + 16 * g))));
  }
}

}  // namespace

void OCTAVO_LANES16(expand_steps_f16u8)(const ExpandStepsArgs& args) noexcept {
  expand_steps_generic(args);
}

}  // namespace octavo
