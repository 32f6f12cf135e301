// SPDX-License-Identifier: Apache-2.0
// Groups of codes, 32 bits each, sixteen of them an I16: what the kernels of int8 attention need
// besides lanes. A tier's file says how many codes a group has (kernels/attention_codes/kernel.h).
#pragma once
#include "kernels/common/lanes16_scalar.h"

namespace {

constexpr int kGroupCodes = 2;
// What codes of queries are larger by in dot: the left operand of a product of bytes is unsigned.
constexpr int kQueryOffset = 0;
// Or dot takes bytes of a, weights too, for what they are less 128.
constexpr bool kSignedWeights = false;

static inline int32_t group2(int32_t low, int32_t high) {
  return (int32_t)(((uint32_t)low & 0xffffu) | (uint32_t)high << 16);
}
static inline int32_t weight_code(int32_t x) { return x < 0 ? 0 : x; }

// sum + the products of the codes of a and b; codes of a are of queries or weights.
static inline I16 dot(I16 sum, I16 a, I16 b) {
  int16_t x[32], y[32];
  memcpy(x, a.v, sizeof x);
  memcpy(y, b.v, sizeof y);
  for (int i = 0; i < 16; ++i) sum.v[i] += x[2 * i] * y[2 * i] + x[2 * i + 1] * y[2 * i + 1];
  return sum;
}

// Sixteen groups of signed codes, and of weights: 0 to 255, or INT32_MIN for 0.
static inline I16 signed_groups(const I16* codes) {
  I16 r;
  for (int i = 0; i < 16; ++i) r.v[i] = group2(codes[0].v[i], codes[1].v[i]);
  return r;
}
static inline I16 weight_groups(const I16* codes) {
  I16 r;
  for (int i = 0; i < 16; ++i) {
    r.v[i] = group2(weight_code(codes[0].v[i]), weight_code(codes[1].v[i]));
  }
  return r;
}

// Four rows of sixteen signed codes: group g of row r to out[16 * g + r]. Tiers that compute starts
// of keys (kernels/attention_codes/kernel.h) add up in `sums` what they need.
template <bool Queries>
static inline void put_four_rows(int32_t* out, const I16* rows, I16&) {
  for (int r = 0; r < 4; ++r) {
    for (int g = 0; g < 8; ++g) out[16 * g + r] = group2(rows[r].v[2 * g], rows[r].v[2 * g + 1]);
  }
}

// The starts of sixteen keys, of four times four rows' sums.
static inline void put_starts(int32_t*, const I16*) {}

// Lane r is the largest lane of rows[r].
static inline I16 largest_of_rows(const I16* rows) {
  I16 r;
  for (int i = 0; i < 16; ++i) {
    r.v[i] = rows[i].v[0];
    for (int l = 1; l < 16; ++l) r.v[i] = rows[i].v[l] > r.v[i] ? rows[i].v[l] : r.v[i];
  }
  return r;
}

}  // namespace
