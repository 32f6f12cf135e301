// SPDX-License-Identifier: Apache-2.0
// Kernel family gemm_bitmap_s8: few rows of codes times a bitmap weight, exact into int32, without
// a dense copy in between.
//
//   c[m][n] = sum over k of a[m][k] * b[k][n]          (int32, wrapping modulo 2^32)
//
// b is drawn in expand_s8/kernel.h; all of its k takes part, from block 0 on. a is as in
// gemm_s8/kernel.h, in the form that the kernel's row in kernels.inc names: kS8 or kU8. c is
// written for m rows and whole panels.
#pragma once
#include <stdint.h>

#include "kernels/common/columns.h"
#include "kernels/expand_s8/kernel.h"
#include "kernels/gemm_s8/kernel.h"

namespace octavo {

struct GemmBitmapS8Args {
  BitmapPanels b;
  const uint8_t* a;
  int64_t a_stride;  // bytes
  int32_t* c;
  int64_t c_stride;  // elements
  int32_t m;
  int32_t k_groups;
};

template <>
struct KernelColumns<GemmBitmapS8Args> : PlainColumns {
  ActivationEncoding form;  // of a
  int most_rows;            // beyond, expand_s8 and gemm_s8 are faster
};
using GemmBitmapS8Row = KernelRow<GemmBitmapS8Args>;

}  // namespace octavo
