// SPDX-License-Identifier: Apache-2.0
// gemm_codes_s8 with NEON registers; a tier's file includes its dot4_*.h first.
#pragma once
#include "kernels/common/codes_neon.h"
#include "kernels/common/lanes16_neon.h"

namespace octavo {
namespace {

constexpr int kRows = 4 / kSumRegisters, kPanels = 1;

struct Sum {
  Sum4 q[4];
};
using Codes = int8x16_t;
struct Weights {
  int8x16_t q[4];
};

static inline I16 start_of(I16 offset, I16, I16) { return offset; }
static inline Sum first_sum(I16) { return {{no_sum(), no_sum(), no_sum(), no_sum()}}; }
static inline Weights weights_of(const int8_t* b) {
  return {{load16(b), load16(b + 16), load16(b + 32), load16(b + 48)}};
}
static inline Codes codes_of(const int8_t* a) { return broadcast4(a); }
static OCTAVO_INLINE Sum add_products(Sum sum, Codes x, const Weights& w) {
  return {{dot4(sum.q[0], x, w.q[0]), dot4(sum.q[1], x, w.q[1]), dot4(sum.q[2], x, w.q[2]),
           dot4(sum.q[3], x, w.q[3])}};
}
static OCTAVO_INLINE I16 finished(const Sum& sum, I16 start) {
  return add_i(start, {total(sum.q[0]), total(sum.q[1]), total(sum.q[2]), total(sum.q[3])});
}

}  // namespace
}  // namespace octavo

#include "kernels/gemm_codes_s8/blocks.h"
