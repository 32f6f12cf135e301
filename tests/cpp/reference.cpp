// SPDX-License-Identifier: Apache-2.0
#include "reference.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <initializer_list>
#include <limits>

namespace octavo_test {

using octavo::Activation;

namespace {

// Coefficients of the highest power first.
float polynomial(float x, std::initializer_list<float> coefficients) {
  float p = *coefficients.begin();
  for (auto c = coefficients.begin() + 1; c != coefficients.end(); ++c) p = std::fma(p, x, *c);
  return p;
}

}  // namespace

float exp_of(float x) {
  if (std::isnan(x)) return x;
  x = std::min(std::max(x, -87.33654f), 88.0f);
  const float n = std::fma(x, 1.44269502f, 12583039.0f) - 12583039.0f;
  float r = std::fma(-n, 0.693147182f, x);
  r = std::fma(-n, -1.90465421e-9f, r);
  const float p = polynomial(r, {1.38208945e-3f, 8.36868212e-3f, 4.16682661e-2f, 1.66665211e-1f,
                                 4.9999994e-1f, 1.0f, 1.0f});
  return p * std::ldexp(1.0f, static_cast<int>(n));
}

namespace {

float gelu_of(float x) {
  if (std::isnan(x)) return x;
  const float t = std::min(std::fabs(x), 9.0f);
  const float y = polynomial(t, {2.99374442e-5f, -7.39976123e-4f, 7.97775015e-3f, -5.32385558e-2f,
                                 -4.58915472e-1f, -1.15114713f, -1.0f});
  const float n = (y + 12583039.0f) - 12583039.0f;
  const float q = polynomial(y - n, {1.32691627e-3f, 9.67131276e-3f, 5.55071197e-2f, 2.40222469e-1f,
                                     6.93147004e-1f, 1.0f});
  return std::fma(-t, q * std::ldexp(1.0f, static_cast<int>(n)), x < 0.0f ? 0.0f : x);
}

}  // namespace

float activation_of(Activation activation, float x) {
  switch (activation) {
    case Activation::kNone: return x;
    case Activation::kRelu: return x < 0.0f ? 0.0f : x;
    case Activation::kGelu: return gelu_of(x);
    case Activation::kGeluTanh: {
      const float minus_2u = x * std::fma(x * x, -0.0713548124f, -1.59576917f);
      return x / (1.0f + exp_of(minus_2u));
    }
    case Activation::kSilu: return x / (1.0f + exp_of(-x));
    case Activation::kTanh: return 2.0f / (1.0f + exp_of(-2.0f * x)) - 1.0f;
  }
  return x;
}

const char* name_of(Activation activation) {
  constexpr const char* kNames[] = {"none", "relu", "gelu", "gelu_tanh", "silu", "tanh"};
  return kNames[static_cast<int>(activation)];
}

namespace {

float fold(float* lanes) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] = lanes[i] + lanes[i + half];
  }
  return lanes[0];
}

}  // namespace

float row_sum(const std::vector<float>& values) {
  float lanes[16] = {};
  for (std::size_t i = 0; i < values.size(); ++i) lanes[i % 16] = lanes[i % 16] + values[i];
  return fold(lanes);
}

float row_sum_of_squares(const std::vector<float>& values) {
  float lanes[16] = {};
  for (std::size_t i = 0; i < values.size(); ++i) {
    lanes[i % 16] = std::fma(values[i], values[i], lanes[i % 16]);
  }
  return fold(lanes);
}

std::vector<float> softmax_of(const std::vector<float>& row) {
  float top = -std::numeric_limits<float>::infinity();
  for (const float x : row) top = std::isnan(x) || std::isnan(top) ? NAN : std::max(top, x);
  std::vector<float> e;
  for (const float x : row) e.push_back(exp_of(x - top));
  const float total = row_sum(e);
  for (float& value : e) value = value / total;
  return e;
}

std::int64_t saturated(float q, std::int64_t zero_point, std::int64_t low, std::int64_t high) {
  if (std::isnan(q)) q = 0.0f;
  const double code = std::nearbyint(static_cast<double>(q)) + static_cast<double>(zero_point);
  return static_cast<std::int64_t>(
      std::min(std::max(code, static_cast<double>(low)), static_cast<double>(high)));
}

RowCodes quantized_row(const std::vector<float>& row, bool symmetric) {
  float lo = 0.0f, hi = 0.0f;
  bool finite = true;
  for (const float x : row) {
    finite = finite && std::isfinite(x);
    lo = std::min(lo, x);
    hi = std::max(hi, x);
  }
  RowCodes out{NAN, 0, std::vector<std::int8_t>(row.size(), 0)};
  if (!finite) return out;
  const float width = symmetric ? std::max(-lo, hi) : hi - lo;
  float scale = symmetric ? width / 127.0f : width / 255.0f;
  if (std::isinf(width)) scale = hi / 255.0f - lo / 255.0f;
  out.scale = width == 0.0f ? 1.0f : std::max(scale, FLT_MIN);
  const float inverse = 1.0f / out.scale;
  if (!symmetric) {
    const float shift = lo * inverse;
    out.zero_point = static_cast<std::int32_t>(saturated(-128.0f - shift, 0, -128, 127));
  }
  for (std::size_t i = 0; i < row.size(); ++i) {
    const int low = symmetric ? -127 : -128;
    out.codes[i] = static_cast<std::int8_t>(saturated(row[i] * inverse, out.zero_point, low, 127));
  }
  return out;
}

float from_half(octavo::Half h) {
  const int exponent = (h.bits >> 10) & 31, mantissa = h.bits & 1023;
  double magnitude;
  if (exponent == 31) {
    magnitude = mantissa == 0 ? INFINITY : NAN;
  } else if (exponent == 0) {
    magnitude = std::ldexp(mantissa, -24);
  } else {
    magnitude = std::ldexp(1024 + mantissa, exponent - 25);
  }
  return static_cast<float>(h.bits & 0x8000u ? -magnitude : magnitude);
}

octavo::Half to_half(float x) {
  const auto sign = static_cast<std::uint16_t>(std::signbit(x) ? 0x8000u : 0u);
  const double magnitude = std::fabs(static_cast<double>(x));
  if (std::isnan(x)) return {static_cast<std::uint16_t>(sign | 0x7e00u)};
  if (magnitude >= 65520.0) return {static_cast<std::uint16_t>(sign | 0x7c00u)};
  const int exponent = magnitude == 0.0 ? -14 : std::max(std::ilogb(magnitude), -14);
  // In units of the last place: at most 2048, which carries into the exponent by itself.
  const auto units = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 10 - exponent)));
  const int bits = units < 1024 ? units : ((exponent + 14) << 10) + units;
  return {static_cast<std::uint16_t>(sign | bits)};
}

}  // namespace octavo_test
