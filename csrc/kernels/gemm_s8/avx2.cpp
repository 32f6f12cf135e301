// SPDX-License-Identifier: Apache-2.0
// Registers: 8 sums, 4 of a, 1 of ones, 2 temporaries. b has none, it is an operand of vpxor: two
// rows by two panels, b read from L1 for each row, give 31 products a cycle where three rows by one
// panel with b in registers give 29, and need fewer instructions besides (Zen 3).
#include "kernels/gemm_s8/ymm.h"

namespace octavo {

void gemm_s8s8s32_2x32x4_avx2(const GemmS8Args& args) noexcept { gemm<2>(args); }

}  // namespace octavo
