// SPDX-License-Identifier: Apache-2.0
// Elementary functions over sixteen lanes; include after one lanes16_*.h. Each operation is rounded
// to float32 in the order written (no fused multiply-add), which makes all tiers bit-equal.
#pragma once

namespace {

static inline F16 axpb(F16 a, F16 x, float b) { return add(mul(a, x), set1(b)); }

// Cephes-style expf: reduce by n*ln2 in two parts, degree-6 polynomial, error below 2 ULP.
static inline F16 exp16(F16 x) {
  // max/min give the second operand for NaN, so x in second place lets NaN through.
  x = min(set1(88.0f), max(set1(-87.33654f), x));
  const F16 n = rint(mul(x, set1(1.44269504f)));
  F16 r = sub(x, mul(n, set1(0.693359375f)));
  r = sub(r, mul(n, set1(-2.12194440e-4f)));
  F16 p = set1(1.9875691500e-4f);
  p = axpb(p, r, 1.3981999507e-3f);
  p = axpb(p, r, 8.3334519073e-3f);
  p = axpb(p, r, 4.1665795894e-2f);
  p = axpb(p, r, 1.6666665459e-1f);
  p = axpb(p, r, 5.0000001201e-1f);
  const F16 y = add(add(mul(p, mul(r, r)), r), set1(1.0f));
  // n of a NaN lane converts to INT_MIN; its 2^n is garbage, but NaN times anything is NaN.
  return mul(y, pow2(to_int(n)));
}

static inline F16 sigmoid16(F16 x) { return div(set1(1.0f), add(set1(1.0f), exp16(neg(x)))); }

// x * Phi(x), erf by Abramowitz & Stegun 7.1.26 (absolute error of Phi below 1e-7).
static inline F16 gelu_erf16(F16 x) {
  const F16 a = abs(mul(x, set1(0.70710678f)));
  const F16 t = div(set1(1.0f), add(set1(1.0f), mul(set1(0.3275911f), a)));
  F16 p = mul(set1(1.061405429f), t);
  p = mul(sub(p, set1(1.453152027f)), t);
  p = mul(add(p, set1(1.421413741f)), t);
  p = mul(sub(p, set1(0.284496736f)), t);
  p = mul(add(p, set1(0.254829592f)), t);
  const F16 q = mul(set1(0.5f), mul(p, exp16(neg(mul(a, a)))));
  return mul(x, select(less(x, set1(0.0f)), q, sub(set1(1.0f), q)));
}

static inline F16 gelu_tanh16(F16 x) {
  const F16 cube = mul(mul(x, x), x);
  const F16 u = mul(set1(0.79788456f), add(x, mul(set1(0.044715f), cube)));
  return mul(x, sigmoid16(add(u, u)));
}

}  // namespace
