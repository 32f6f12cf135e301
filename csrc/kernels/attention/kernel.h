// SPDX-License-Identifier: Apache-2.0
// Kernel family attention: softmax(q k^T * scale) v for some query rows of one head.
//
//   s[i][j] = (sum over e in order of q[i][e] * k[j][e]) * scale        j over the n valid keys
//   with a bias, scaling and adding bias[i][j] is one fused multiply-add
//   p[i]    = softmax(s[i])                                             kernels/softmax/kernel.h
//   out[i][e] = sum over j in order of p[i][j] * v[j][e]
//
// Sums start at +0; adding a product is one fused multiply-add, rounded once. Both products are the
// same loop: a row of the left side times a panel 16 columns wide.
//
//   k_panels: panel P holds keys [16P, 16P + 16), as d groups   v_panels: panel P holds columns
//   of 16 floats, one per key:                                  [16P, 16P + 16) of all n values:
//     | k[16P][0] .. k[16P+15][0] | k[16P][1] .. |                | v[0][16P] .. | v[1][16P] .. |
//
// Both are aligned to 64 and padded with zeros to whole panels. n >= 1, d >= 1. scores is scratch,
// aligned to 64, for kAttentionRows rows of n rounded up to 16; a row of bias is as long, and
// aligned. Rows of q and out may end at d.
#pragma once
#include <stdint.h>

namespace octavo {

// Query rows at a time. On AVX2 and AVX-512: 12 registers of sums, 2 of panels, 1 broadcast.
constexpr int kAttentionRows = 6;

struct AttentionArgs {
  const float* q;
  int64_t q_stride;  // elements
  int64_t m;
  const float* k_panels;
  const float* v_panels;
  int64_t n;
  int64_t d;
  float scale;
  const float* bias;  // or null
  float* scores;
  float* out;
  int64_t out_stride;
};

}  // namespace octavo
