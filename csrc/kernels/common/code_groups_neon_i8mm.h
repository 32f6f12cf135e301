// SPDX-License-Identifier: Apache-2.0
// Groups of four codes of 8 bits (see code_groups_scalar.h for what each function means).
#pragma once
#include "kernels/common/code_groups_neon_bytes.h"

namespace {

constexpr int kQueryOffset = 128;
constexpr bool kSignedWeights = false;

static inline int32x4_t dot_4(int32x4_t sum, int32x4_t a, int32x4_t b) {
  return vusdotq_s32(sum, vreinterpretq_u8_s32(a), vreinterpretq_s8_s32(b));
}
static inline I16 dot(I16 sum, I16 a, I16 b) {
  return {dot_4(sum.q0, a.q0, b.q0), dot_4(sum.q1, a.q1, b.q1), dot_4(sum.q2, a.q2, b.q2),
          dot_4(sum.q3, a.q3, b.q3)};
}

}  // namespace
