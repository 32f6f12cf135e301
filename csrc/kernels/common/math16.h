// SPDX-License-Identifier: Apache-2.0
// Elementary functions over sixteen lanes; include after one lanes16_*.h. Each operation is rounded
// to float32 in the order written, fma and axpb as one, which makes all tiers bit-equal.
#pragma once

namespace {

// a * x + b, rounded once.
static inline F16 axpb(F16 a, F16 x, float b) { return fma(a, x, set1(b)); }

// 1.5 * 2^23 + 127. Added to |y| < 2^21 it rounds y to the integer n, half to even, and leaves
// n + 127, the exponent of 2^n, in the low bits.
constexpr float kToInteger = 12583039.0f;

// e^x as 2^n * e^r, n = rint(x / ln 2) and r = x - n * ln 2, taken off in two parts; e^r by a
// polynomial of degree 6 (minimax in relative error, 3.1e-9). Error below 0.9 ULP.
static inline F16 exp16(F16 x) {
  // max/min give the second operand for NaN, so x in second place lets NaN through.
  x = min(set1(88.0f), max(set1(-87.33654f), x));
  const F16 whole = axpb(x, set1(1.44269502f), kToInteger);
  const F16 n = sub(whole, set1(kToInteger));
  F16 r = fnma(n, set1(0.693147182f), x);
  r = fnma(n, set1(-1.90465421e-9f), r);
  F16 p = set1(1.38208945e-3f);
  p = axpb(p, r, 8.36868212e-3f);
  p = axpb(p, r, 4.16682661e-2f);
  p = axpb(p, r, 1.66665211e-1f);
  p = axpb(p, r, 4.9999994e-1f);
  p = axpb(p, r, 1.0f);
  p = axpb(p, r, 1.0f);
  // Of a NaN lane, 2^n is garbage, but NaN times anything is NaN.
  return mul(p, low_bits_as_exponent(whole));
}

// 2^(x * factor) as 2^n * 2^f, n = rint(x * factor), 2^f by a polynomial of degree 4 (minimax in
// relative error, 4e-6): for weights that become codes of 8 bits. 0 where n < -64.
static inline F16 exp2_scaled16(F16 x, F16 factor) {
  const F16 whole = fma(x, factor, set1(kToInteger));
  const F16 f = fma(x, factor, sub(set1(kToInteger), whole));
  F16 p = set1(9.67606e-3f);
  p = axpb(p, f, 5.588240e-2f);
  p = axpb(p, f, 2.4013971e-1f);
  p = axpb(p, f, 6.9313675e-1f);
  p = axpb(p, f, 1.0f);
  return keep(not_below(whole, set1(kToInteger - 64.0f)), mul(p, low_bits_as_exponent(whole)));
}

// x / (1 + e^-x).
static inline F16 silu16(F16 x) { return div(x, add(set1(1.0f), exp16(neg(x)))); }

static inline F16 tanh16(F16 x) {
  const F16 e = exp16(mul(set1(-2.0f), x));
  return sub(div(set1(2.0f), add(set1(1.0f), e)), set1(1.0f));
}

// x * Phi(x) = max(x, 0) - t * Phi(-t) with t = |x|. Phi(-t) is 2^y, y a polynomial of degree 6
// (minimax in the error of t * 2^y up to t = 9, 8.3e-8), 2^f one of degree 5 (9.4e-8 relative).
// Beyond t = 9 the product stays at 1e-18.
static inline F16 gelu_erf16(F16 x) {
  const F16 t = min(abs(x), set1(9.0f));
  F16 y = set1(2.99374442e-5f);
  y = axpb(y, t, -7.39976123e-4f);
  y = axpb(y, t, 7.97775015e-3f);
  y = axpb(y, t, -5.32385558e-2f);
  y = axpb(y, t, -4.58915472e-1f);
  y = axpb(y, t, -1.15114713f);
  y = axpb(y, t, -1.0f);
  const F16 whole = add(y, set1(kToInteger));
  const F16 f = sub(y, sub(whole, set1(kToInteger)));
  F16 q = set1(1.32691627e-3f);
  q = axpb(q, f, 9.67131276e-3f);
  q = axpb(q, f, 5.55071197e-2f);
  q = axpb(q, f, 2.40222469e-1f);
  q = axpb(q, f, 6.93147004e-1f);
  q = axpb(q, f, 1.0f);
  q = mul(q, low_bits_as_exponent(whole));
  return fnma(t, q, max(set1(0.0f), x));  // second operand: NaN stays
}

// x / (1 + e^-2u), u = sqrt(2 / pi) * (x + 0.044715 x^3).
static inline F16 gelu_tanh16(F16 x) {
  const F16 minus_2u = mul(x, axpb(mul(x, x), set1(-0.0713548124f), -1.59576917f));
  return div(x, add(set1(1.0f), exp16(minus_2u)));
}

}  // namespace
