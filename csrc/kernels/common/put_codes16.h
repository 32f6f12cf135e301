// SPDX-License-Identifier: Apache-2.0
// Codes as a product's left operand; include after lanes16_*.h.
#pragma once
#include "kernels/gemm_s8/kernel.h"

namespace octavo {
namespace {

// Sixty-four signed codes, in the form asked for.
static inline void put_codes(uint8_t* a, int64_t abs_offset, ActivationEncoding form, B64 codes) {
  if (form == ActivationEncoding::kSignAbs) {
    store_bytes(a, signs(codes));
    store_bytes(a + abs_offset, magnitudes(codes));
    return;
  }
  store_bytes(a, form == ActivationEncoding::kU8 ? plus_128(codes) : codes);
}

// Sixteen signed codes, or the first n, saturated to 8 bits in the form asked for.
template <bool Whole>
static inline void put_codes(uint8_t* a, int64_t abs_offset, ActivationEncoding form, I16 code,
                             int n) {
  if (form == ActivationEncoding::kU8) {
    const I16 shifted = add_i(code, set1_i(128));
    Whole ? store_u8(a, shifted) : store_u8_n(a, shifted, n);
    return;
  }
  if (form == ActivationEncoding::kSignAbs) {
    Whole ? store_sign_abs(a, a + abs_offset, code) : store_sign_abs_n(a, a + abs_offset, code, n);
    return;
  }
  Whole ? store_s8((int8_t*)a, code) : store_s8_n((int8_t*)a, code, n);
}

}  // namespace
}  // namespace octavo
