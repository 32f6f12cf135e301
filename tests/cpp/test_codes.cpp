// SPDX-License-Identifier: Apache-2.0
// quantize_linear and dequantize_linear rows, for every pair of element types; widen rows.
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "bench.h"
#include "guarded.h"
#include "reference.h"
#include "tests.h"

namespace octavo_test {
namespace {

using namespace octavo;

// Values of a type are made from and compared as float32 or int64.
float to_float(float x) { return x; }
float to_float(Half x) { return from_half(x); }
void assign(float& to, float x) { to = x; }
void assign(Half& to, float x) { to = to_half(x); }
bool same(float a, float b) { return same_bits(a, b); }
bool same(Half a, Half b) {
  const bool nan_a = (a.bits & 0x7fff) > 0x7c00, nan_b = (b.bits & 0x7fff) > 0x7c00;
  return nan_a || nan_b ? nan_a && nan_b : a.bits == b.bits;
}
// A quotient in the scale's own type.
float divided(float x, float scale, float) { return x / scale; }
float divided(float x, float scale, Half) { return from_half(to_half(x / scale)); }

template <class T>
constexpr FloatType float_type() {
  return sizeof(T) == 4 ? FloatType::kF32 : FloatType::kF16;
}
template <class T>
constexpr CodeType code_type() {
  if (sizeof(T) == 4) return CodeType::kS32;
  const bool is_signed = std::numeric_limits<T>::is_signed;
  if (sizeof(T) == 2) return is_signed ? CodeType::kS16 : CodeType::kU16;
  return is_signed ? CodeType::kS8 : CodeType::kU8;
}

// Rows of n elements; each has one scale and zero point, or one per element.
struct Shape {
  std::int64_t rows, n;
  bool per_element, zero_point, stream;
  Edge edge;
  bool wild = true;  // with NaNs, infinities and far values, which may take ways of their own

  std::int64_t count() const { return rows * n; }
  std::int64_t parameters() const { return per_element ? rows * n : rows; }
  std::int64_t parameter(std::int64_t i) const { return per_element ? i : i / n; }
  std::string text() const {
    return " rows=" + std::to_string(rows) + " n=" + std::to_string(n) +
           (per_element ? " per element" : "") + (stream ? " stream" : "");
  }
};

// Next to the ties of a scale: quotients k + 1/2, a few units of the last place away.
float near_tie(float scale, Random& random) {
  float x = (static_cast<float>(random.between(-260, 260)) + 0.5f) * scale;
  for (std::int64_t steps = random.between(-2, 2); steps != 0; steps += steps < 0 ? 1 : -1) {
    x = std::nextafter(x, steps < 0 ? -1.0e9f : 1.0e9f);
  }
  return x;
}

// Without `wild`: one doubtful value in 64, the rest far from any tie.
float input(std::int64_t i, float scale, bool wild, Random& random) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  if (!wild) {
    if (i % 64 == 17) return near_tie(scale, random);
    return (static_cast<float>(random.between(-300, 300)) + random.real(0.25f)) * scale;
  }
  switch (random.next() % 24) {
    case 0: return NAN;
    case 1: return kInf;
    case 2: return -kInf;
    case 3: return -0.0f;
    case 4: return random.real(6.0e4f);
    case 5: return random.real(1.0e-6f);
    case 6: return static_cast<float>(random.between(-300, 300)) * 0.5f;  // ties at scale 1
    default: return random.real(i % 2 ? 3.0f : 40.0f);
  }
}

template <class X, class Y>
void check_quantize(const KernelRow<QuantizeLinearArgs>& kernel, const Shape& s, Random& random) {
  Guarded<X> x(s.count(), s.edge), scale(s.parameters(), s.edge);
  Guarded<Y> zero_point(s.parameters(), s.edge), y(s.count(), s.edge);
  for (std::int64_t i = 0; i < scale.size(); ++i) {
    assign(scale[i], random.next() % 3 == 0 ? 1.0f : 0.01f + std::fabs(random.real(0.5f)));
    zero_point[i] = static_cast<Y>(random.next());
  }
  for (std::int64_t i = 0; i < x.size(); ++i) {
    assign(x[i], input(i, to_float(scale[s.parameter(i)]), s.wild, random));
  }
  QuantizeLinearArgs args = {float_type<X>(),
                             code_type<Y>(),
                             x.data(),
                             scale.data(),
                             s.zero_point ? zero_point.data() : nullptr,
                             y.data(),
                             s.rows,
                             s.n,
                             s.per_element ? s.n : 1,
                             s.per_element,
                             s.stream};
  kernel.run(args);
  using Limits = std::numeric_limits<Y>;
  bool ok = true;
  for (std::int64_t i = 0; i < y.size(); ++i) {
    const std::int64_t p = s.parameter(i);
    const float q = divided(to_float(x[i]), to_float(scale[p]), X{});
    ok = ok && y[i] == saturated(q, s.zero_point ? zero_point[p] : 0, Limits::min(), Limits::max());
  }
  const std::string what = std::string(kernel.name) + s.text() + " bytes " +
                           std::to_string(sizeof(X)) + " to " + std::to_string(sizeof(Y));
  check(ok, what);
  time_case(what, [&] { kernel.run(args); });
}

template <class Q, class Y>
void check_dequantize(const KernelRow<DequantizeLinearArgs>& kernel, const Shape& s,
                      Random& random) {
  Guarded<Q> q(s.count(), s.edge), zero_point(s.parameters(), s.edge);
  Guarded<Y> scale(s.parameters(), s.edge), y(s.count(), s.edge);
  for (std::int64_t i = 0; i < q.size(); ++i) q[i] = static_cast<Q>(random.next());
  for (std::int64_t i = 0; i < scale.size(); ++i) {
    assign(scale[i], i % 9 == 8 ? 6.0e-5f : random.real(2.0f));
    zero_point[i] = static_cast<Q>(random.next());
  }
  DequantizeLinearArgs args = {code_type<Q>(),
                               float_type<Y>(),
                               q.data(),
                               scale.data(),
                               s.zero_point ? zero_point.data() : nullptr,
                               y.data(),
                               s.rows,
                               s.n,
                               s.per_element ? s.n : 1,
                               s.per_element,
                               s.stream};
  kernel.run(args);
  bool ok = true;
  for (std::int64_t i = 0; i < y.size(); ++i) {
    const std::int64_t p = s.parameter(i);
    const auto zero = static_cast<std::uint32_t>(s.zero_point ? zero_point[p] : 0);
    const auto difference = static_cast<std::int32_t>(static_cast<std::uint32_t>(q[i]) - zero);
    Y expected;
    assign(expected, static_cast<float>(difference) * to_float(scale[p]));
    ok = ok && same(y[i], expected);
  }
  const std::string what = std::string(kernel.name) + s.text() + " bytes " +
                           std::to_string(sizeof(Q)) + " to " + std::to_string(sizeof(Y));
  check(ok, what);
  time_case(what, [&] { kernel.run(args); });
}

const Shape kTimedShape = {16, 768, false, true, false, Edge::kEnd, false};

template <class Check>
void for_shapes(const Check& check_shape) {
  for (const std::int64_t n : {0, 1, 7, 15, 16, 17, 32, 33, 100}) {
    for (int options = 0; options < 4; ++options) {
      const Edge edge = (n + options) % 2 == 0 ? Edge::kEnd : Edge::kFront;
      check_shape(Shape{n == 100 ? 1 : 3, n, (options & 1) != 0, (options & 2) != 0, false, edge});
    }
  }
  // Long rows of one scale may be taken in stretches, with a second look at doubtful ones.
  check_shape(Shape{64, 640, false, true, false, Edge::kEnd, false});
  check_shape(Shape{64, 640, false, false, false, Edge::kFront, false});
  for (const std::int64_t n : {63, 64, 65, 128, 200, 1000}) {
    for (const bool wild : {false, true}) {
      check_shape(Shape{4, n, false, n % 2 == 0, false, Edge::kEnd, wild});
      check_shape(Shape{3, n, false, n % 2 == 1, false, Edge::kFront, wild});
    }
  }
  // The stream form wants one row and y aligned to 64: it starts right behind a guard page.
  for (const std::int64_t n : {16, 64, 77, 256}) {
    check_shape(Shape{1, n, false, true, true, Edge::kFront});
    check_shape(Shape{1, n, true, n == 77, true, Edge::kFront});
    check_shape(Shape{1, n, false, true, true, Edge::kFront, false});
  }
}

template <class X>
void quantize_from(const KernelRow<QuantizeLinearArgs>& kernel, Random& random) {
  for_shapes([&](const Shape& s) {
    check_quantize<X, std::int8_t>(kernel, s, random);
    check_quantize<X, std::uint8_t>(kernel, s, random);
    check_quantize<X, std::int16_t>(kernel, s, random);
    check_quantize<X, std::uint16_t>(kernel, s, random);
  });
}

template <class Y>
void dequantize_to(const KernelRow<DequantizeLinearArgs>& kernel, Random& random) {
  for_shapes([&](const Shape& s) {
    check_dequantize<std::int8_t, Y>(kernel, s, random);
    check_dequantize<std::uint8_t, Y>(kernel, s, random);
    check_dequantize<std::int16_t, Y>(kernel, s, random);
    check_dequantize<std::uint16_t, Y>(kernel, s, random);
    check_dequantize<std::int32_t, Y>(kernel, s, random);
  });
}

// Every float16 whose quotient is in range, in an order that keeps neighbours apart: doubtful ones
// must not hide behind others of their stretch.
void check_half_inputs(const KernelRow<QuantizeLinearArgs>& kernel, Random& random) {
  for (int round = 0; round < 40; ++round) {
    Half scale;
    assign(scale, std::ldexp(1.0f + std::fabs(random.real(1.0f)),
                             static_cast<int>(random.between(-12, 5))));
    const float s = from_half(scale);
    std::vector<Half> values;
    for (std::uint32_t i = 0; i < 65536; ++i) {
      const Half x = {static_cast<std::uint16_t>(i * 40503u)};
      if (std::fabs(from_half(x)) <= 300.0f * s) values.push_back(x);
    }
    const auto n = static_cast<std::int64_t>(values.size());
    Guarded<std::int8_t> y(n);
    kernel.run({FloatType::kF16, CodeType::kS8, values.data(), &scale, nullptr, y.data(), 1, n, 1,
                false, false});
    bool ok = true;
    for (std::int64_t i = 0; i < n; ++i) {
      const float q = divided(from_half(values[static_cast<std::size_t>(i)]), s, Half{});
      ok = ok && y[i] == saturated(q, 0, -128, 127);
    }
    check(ok, std::string(kernel.name) + " every float16 at scale " + std::to_string(s));
  }
}

// Every binary16 there is, to float32 and back, through the kernels' own conversions.
void check_halves(const KernelRow<DequantizeLinearArgs>& kernel) {
  Guarded<Half> scale(65536), y(65536);
  Guarded<std::int8_t> q(65536);
  q.fill(1);
  for (int i = 0; i < 65536; ++i) scale[i].bits = static_cast<std::uint16_t>(i);
  kernel.run({CodeType::kS8, FloatType::kF16, q.data(), scale.data(), nullptr, y.data(), 1, 65536,
              0, true, false});
  bool ok = true;
  for (int i = 0; i < 65536; ++i) {
    ok = ok && same(y[i], scale[i]) && same(to_half(from_half(scale[i])), scale[i]);
  }
  check(ok, std::string(kernel.name) + " every float16");
}

// Every value of 16 bits, and every length of a tail, next to unmapped pages.
void check_widen(const KernelRow<WidenArgs>& kernel, bool bfloat, std::int64_t n, Edge edge) {
  Guarded<std::uint16_t> x(static_cast<std::size_t>(n), edge);
  Guarded<float> y(static_cast<std::size_t>(n), edge);
  for (std::int64_t i = 0; i < n; ++i) x[i] = static_cast<std::uint16_t>(i * 65535 / (n + 1) + i);
  if (n == 65536) {
    for (std::int64_t i = 0; i < n; ++i) x[i] = static_cast<std::uint16_t>(i);
  }
  kernel.run({x.data(), y.data(), n, bfloat});
  bool ok = true;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint32_t bits = static_cast<std::uint32_t>(x[i]) << 16;
    float expected;
    std::memcpy(&expected, &bits, sizeof expected);
    if (!bfloat) expected = from_half(Half{x[i]});
    const bool both_nan = std::isnan(expected) && std::isnan(y[i]);
    ok = ok && (both_nan || same_bits(y[i], expected));
  }
  const std::string what =
      std::string(kernel.name) + (bfloat ? " bfloat16" : " float16") + " n=" + std::to_string(n);
  check(ok, what);
  time_case(what, [&] { kernel.run({x.data(), y.data(), n, bfloat}); });
}

}  // namespace

void test_widen() {
  using Row = KernelRow<WidenArgs>;
  const auto checks = [](const Row& kernel) {
    for (const bool bfloat : {false, true}) {
      for (const std::int64_t n : {1, 7, 8, 15, 16, 17, 31, 33, 100, 65536}) {
        check_widen(kernel, bfloat, n, Edge::kEnd);
        check_widen(kernel, bfloat, n, Edge::kFront);
      }
    }
  };
  for_each_row<WidenArgs>(checks, [](const Row& kernel) {
    for (const bool bfloat : {false, true}) check_widen(kernel, bfloat, 4096, Edge::kEnd);
  });
}

void test_quantize_linear() {
  Random random(20240304);
  using Row = KernelRow<QuantizeLinearArgs>;
  const auto checks = [&](const Row& kernel) {
    quantize_from<float>(kernel, random);
    quantize_from<Half>(kernel, random);
    check_half_inputs(kernel, random);
  };
  for_each_row<QuantizeLinearArgs>(checks, [&](const Row& kernel) {
    check_quantize<float, std::int8_t>(kernel, kTimedShape, random);
    check_quantize<Half, std::int8_t>(kernel, kTimedShape, random);
  });
}

void test_dequantize_linear() {
  Random random(20240305);
  using Row = KernelRow<DequantizeLinearArgs>;
  const auto checks = [&](const Row& kernel) {
    dequantize_to<float>(kernel, random);
    dequantize_to<Half>(kernel, random);
    check_halves(kernel);
  };
  for_each_row<DequantizeLinearArgs>(checks, [&](const Row& kernel) {
    check_dequantize<std::int8_t, float>(kernel, kTimedShape, random);
    check_dequantize<std::int8_t, Half>(kernel, kTimedShape, random);
  });
}

}  // namespace octavo_test
