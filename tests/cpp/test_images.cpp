// SPDX-License-Identifier: Apache-2.0
// The families of images beside their products: elementwise, window, interpolate, lookup_s8. Bit
// for bit, of codes and of floats.
#include <cmath>
#include <limits>
#include <utility>

#include "bench.h"
#include "guarded.h"
#include "reference.h"
#include "tests.h"

namespace octavo_test {
namespace {

using namespace octavo;

constexpr float kInf = std::numeric_limits<float>::infinity();

template <class T>
constexpr bool kCodes = std::is_same_v<T, std::int8_t>;

void put_random(std::int8_t& value, Random& random) {
  value = static_cast<std::int8_t>(random.between(-128, 127));
}
// Now and then NaN, an infinity or a zero with a sign.
void put_random(float& value, Random& random) {
  constexpr float kSpecial[] = {NAN, kInf, -kInf, -0.0f};
  const std::int64_t kind = is_timed_case() ? 4 : random.between(0, 60);
  value = kind < 4 ? kSpecial[kind] : random.real(4.0f);
}

template <class T>
struct Values : Guarded<T> {
  Values(std::int64_t count, Edge edge, Random& random) : Guarded<T>(count, edge) {
    for (std::int64_t i = 0; i < count; ++i) put_random((*this)[i], random);
  }
};

float clamped(float t, float low, float high) {
  t = low > t ? low : t;
  return high < t ? high : t;
}

template <class T>
T result_of(float t, float low, float high, int zero_point) {
  t = clamped(t, low, high);
  if constexpr (kCodes<T>) return static_cast<T>(saturated(t, zero_point, -128, 127));
  return static_cast<T>(t);
}

float combined(const ElementwiseArgs& args, float a, float b) {
  switch (args.op) {
    case Elementwise::kAdd: return a * args.a_scale + b * args.b_scale;
    case Elementwise::kMultiply: return (a * b) * args.a_scale;
    case Elementwise::kPrelu: return a < 0 ? (a * b) * args.b_scale : a * args.a_scale;
    case Elementwise::kClamp: return a;
    case Elementwise::kHardSwish: return (a * clamped(a + 3.0f, 0.0f, 6.0f)) * (1.0f / 6.0f);
    case Elementwise::kLogistic: return 1.0f / (1.0f + exp_of(-a));
  }
  return a;
}

struct ElementwiseCase {
  Elementwise op;
  std::int64_t m, n;
  bool same_row;  // of b for all
  Edge edge;
};

template <class T>
void check_elementwise(const KernelRow<ElementwiseArgs>& kernel, const ElementwiseCase& c,
                       Random& random) {
  const std::int64_t stride = c.n + (c.edge == Edge::kEnd ? 0 : 3), size = (c.m - 1) * stride + c.n;
  const std::int64_t b_stride = c.same_row || c.op > Elementwise::kPrelu ? 0 : stride;
  Values<T> a(size, c.edge, random), b((c.m - 1) * b_stride + c.n, c.edge, random);
  Guarded<T> out(size, c.edge);
  out.fill(static_cast<T>(9));
  ElementwiseArgs args = {};
  args.op = c.op;
  args.codes = kCodes<T>;
  args.a = a.data(), args.a_stride = stride;
  args.b = c.op > Elementwise::kPrelu ? nullptr : b.data(), args.b_stride = b_stride;
  args.out = out.data(), args.out_stride = stride;
  args.m = c.m, args.n = c.n;
  args.a_scale = kCodes<T> ? 0.61f : 1.0f, args.b_scale = kCodes<T> ? 0.013f : -1.0f;
  args.low = kCodes<T> ? -100.0f : 0.0f, args.high = kCodes<T> ? 124.0f : 6.0f;
  if (!kCodes<T> && c.n % 2 != 0) args.low = -kInf, args.high = kInf;
  if (kCodes<T>) args.a_zero_point = -128, args.b_zero_point = 127, args.out_zero_point = 3;
  std::vector<T> expected(static_cast<std::size_t>(size), static_cast<T>(9));
  for (std::int64_t i = 0; i < c.m; ++i) {
    for (std::int64_t j = 0; j < c.n; ++j) {
      const float x = static_cast<float>(a[i * stride + j]) - static_cast<float>(args.a_zero_point);
      const float y =
          static_cast<float>(b[i * b_stride + j]) - static_cast<float>(args.b_zero_point);
      expected[static_cast<std::size_t>(i * stride + j)] =
          result_of<T>(combined(args, x, y), args.low, args.high, args.out_zero_point);
    }
  }
  kernel.run(args);
  const std::string what = std::string(kernel.name) + (kCodes<T> ? " s8" : " f32") +
                           " op=" + std::to_string(static_cast<int>(c.op)) +
                           " m=" + std::to_string(c.m) + " n=" + std::to_string(c.n) +
                           (c.same_row ? " same row" : "");
  check_same(out.data(), expected.data(), size, what);
  time_case(what, [&] { kernel.run(args); });
  args.out = a.data();
  kernel.run(args);
  for (std::int64_t i = 0; i < c.m; ++i) {
    check_same(&a[i * stride], &expected[static_cast<std::size_t>(i * stride)], c.n,
               what + " in place");
  }
}

struct WindowCase {
  Window op;
  std::int64_t rows, columns, step, outputs, channels;
  Edge edge;
};

// A fold as its contract says, over window (rows, columns) at x.
template <class T>
T folded(const WindowArgs& args, const T* x, std::int64_t c) {
  const bool is_max = args.op == Window::kMaxS8 || args.op == Window::kMaxF32;
  float t = is_max ? -kInf : 0.0f;  // exact for codes: sums stay below 2^24
  for (std::int64_t i = 0; i < args.rows; ++i) {
    for (std::int64_t j = 0; j < args.columns; ++j) {
      const auto v = static_cast<float>(x[i * args.row_stride + j * args.column_stride]);
      if (is_max) {
        t = v > t || std::isnan(v) ? v : t;
      } else if (args.op == Window::kWeightedF32) {
        t = std::fma(v, args.w[i * args.w_row_stride + j * args.w_column_stride + c], t);
      } else {
        t += v - static_cast<float>(args.zero_point);
      }
    }
  }
  switch (args.op) {
    case Window::kMaxS8: return static_cast<T>(clamped(t, args.low, args.high));
    case Window::kMeanS8: t *= args.scale; break;
    case Window::kMaxF32: break;
    case Window::kMeanF32: t /= static_cast<float>(args.rows * args.columns); break;
    case Window::kWeightedF32: t += args.bias[c]; break;
  }
  return result_of<T>(t, args.low, args.high, args.out_zero_point);
}

template <class T>
void check_window(const KernelRow<WindowArgs>& kernel, const WindowCase& c, Random& random) {
  const std::int64_t gap = c.edge == Edge::kEnd ? 0 : 3, column_stride = c.channels + gap;
  const std::int64_t width = (c.outputs - 1) * c.step + c.columns;
  const std::int64_t row_stride = (width + gap) * column_stride;
  Values<T> x((c.rows - 1) * row_stride + (width - 1) * column_stride + c.channels, c.edge, random);
  Guarded<float> w(c.rows * c.columns * c.channels, c.edge), bias(c.channels, c.edge);
  for (std::int64_t i = 0; i < w.size(); ++i) w[i] = random.real(1.0f);
  for (std::int64_t i = 0; i < c.channels; ++i) bias[i] = random.real(1.0f);
  Guarded<T> out((c.outputs - 1) * column_stride + c.channels, c.edge);
  out.fill(static_cast<T>(9));
  WindowArgs args = {};
  args.op = c.op;
  args.x = x.data(), args.step = c.step * column_stride;
  args.row_stride = row_stride, args.column_stride = column_stride;
  args.rows = c.rows, args.columns = c.columns;
  if (c.op == Window::kWeightedF32) {
    args.w = w.data(), args.bias = bias.data();
    args.w_row_stride = c.columns * c.channels, args.w_column_stride = c.channels;
  }
  args.out = out.data(), args.out_stride = column_stride;
  args.outputs = c.outputs, args.channels = c.channels;
  args.low = kCodes<T> ? -100.0f : 0.0f, args.high = kCodes<T> ? 124.0f : 6.0f;
  if (!kCodes<T> && c.channels % 2 != 0) args.low = -kInf, args.high = kInf;
  if (kCodes<T>) args.scale = 0.13f, args.zero_point = -7, args.out_zero_point = 3;
  std::vector<T> expected(static_cast<std::size_t>(out.size()), static_cast<T>(9));
  for (std::int64_t o = 0; o < c.outputs; ++o) {
    for (std::int64_t i = 0; i < c.channels; ++i) {
      expected[static_cast<std::size_t>(o * column_stride + i)] =
          folded(args, x.data() + o * args.step + i, i);
    }
  }
  kernel.run(args);
  const std::string what =
      std::string(kernel.name) + " op=" + std::to_string(static_cast<int>(c.op)) + " " +
      std::to_string(c.rows) + "x" + std::to_string(c.columns) + " step=" + std::to_string(c.step) +
      " outputs=" + std::to_string(c.outputs) + " channels=" + std::to_string(c.channels);
  check_same(out.data(), expected.data(), out.size(), what);
  time_case(what, [&] { kernel.run(args); });
}

void check_window(const KernelRow<WindowArgs>& kernel, const WindowCase& c, Random& random) {
  const bool codes = c.op == Window::kMaxS8 || c.op == Window::kMeanS8;
  codes ? check_window<std::int8_t>(kernel, c, random) : check_window<float>(kernel, c, random);
}

float between(float a, float b, float fraction) { return a + (b - a) * fraction; }

template <class T>
void check_interpolate(const KernelRow<InterpolateArgs>& kernel, std::int64_t outputs,
                       std::int64_t channels, Edge edge, Random& random) {
  constexpr std::int64_t kWidth = 5;
  Values<T> top(kWidth * channels, edge, random), bottom(kWidth * channels, edge, random);
  Guarded<T> out(outputs * channels, edge);
  Guarded<std::int64_t> left(outputs, edge), right(outputs, edge);
  Guarded<float> fraction(outputs, edge);
  const float down = 0.375f;
  std::vector<T> expected;
  for (std::int64_t o = 0; o < outputs; ++o) {
    left[o] = random.between(0, kWidth - 1) * channels;
    right[o] = random.between(0, kWidth - 1) * channels;
    fraction[o] = static_cast<float>(random.between(0, 8)) / 8;
    for (std::int64_t c = 0; c < channels; ++c) {
      const auto across = [&](Values<T>& row) {
        return between(row[left[o] + c], row[right[o] + c], fraction[o]);
      };
      expected.push_back(result_of<T>(between(across(top), across(bottom), down), -kInf, kInf, 0));
    }
  }
  const InterpolateArgs args = {kCodes<T>,    top.data(),      bottom.data(), left.data(),
                                right.data(), fraction.data(), down,          out.data(),
                                outputs,      channels};
  kernel.run(args);
  const std::string what = std::string(kernel.name) + (kCodes<T> ? " s8" : " f32") +
                           " outputs=" + std::to_string(outputs) +
                           " channels=" + std::to_string(channels);
  check_same(out.data(), expected.data(), out.size(), what);
  time_case(what, [&] { kernel.run(args); });
}

void check_lookup(const KernelRow<LookupS8Args>& kernel, std::int64_t n, Edge edge,
                  Random& random) {
  Values<std::int8_t> x(n, edge, random), table(256, edge, random);
  for (std::int64_t i = 0; i < n && i < 256; ++i) x[i] = static_cast<std::int8_t>(i - 128);
  Guarded<std::int8_t> out(n, edge);
  std::vector<std::int8_t> expected;
  for (std::int64_t i = 0; i < n; ++i) expected.push_back(table[x[i] + 128]);
  LookupS8Args args = {x.data(), table.data(), out.data(), n};
  kernel.run(args);
  const std::string what = std::string(kernel.name) + " n=" + std::to_string(n);
  check_same(out.data(), expected.data(), n, what);
  time_case(what, [&] { kernel.run(args); });
  args.out = x.data();
  kernel.run(args);
  check_same(x.data(), expected.data(), n, what + " in place");
}

Edge edge_of(std::int64_t i) { return i % 2 == 0 ? Edge::kEnd : Edge::kFront; }

}  // namespace

void test_elementwise() {
  Random random(20261101);
  using Row = KernelRow<ElementwiseArgs>;
  constexpr Elementwise kTwo[] = {Elementwise::kAdd, Elementwise::kMultiply, Elementwise::kPrelu};
  constexpr Elementwise kOne[] = {Elementwise::kClamp, Elementwise::kHardSwish,
                                  Elementwise::kLogistic};
  for_each_row<ElementwiseArgs>(
      [&](const Row& kernel) {
        for (const std::int64_t n : {1, 15, 16, 17, 50}) {
          for (const Elementwise op : kTwo) {
            for (const bool same_row : {false, true}) {
              check_elementwise<std::int8_t>(kernel, {op, 3, n, same_row, edge_of(n)}, random);
              check_elementwise<float>(kernel, {op, 3, n, same_row, edge_of(n)}, random);
            }
          }
          for (const Elementwise op : kOne) {
            check_elementwise<float>(kernel, {op, 3, n, false, edge_of(n)}, random);
          }
        }
      },
      [&](const Row& kernel) {
        for (const Elementwise op : kTwo) {
          check_elementwise<std::int8_t>(kernel, {op, 1, 14 * 14 * 96, false, Edge::kEnd}, random);
          check_elementwise<float>(kernel, {op, 196, 24, true, Edge::kFront}, random);
        }
        for (const Elementwise op : kOne) {
          check_elementwise<float>(kernel, {op, 1, 4096, false, Edge::kEnd}, random);
        }
      });
}

void test_window() {
  Random random(20261102);
  constexpr Window kAll[] = {Window::kMaxS8, Window::kMeanS8, Window::kMaxF32, Window::kMeanF32,
                             Window::kWeightedF32};
  for_each_row<WindowArgs>(
      [&](const KernelRow<WindowArgs>& kernel) {
        for (const Window op : kAll) {
          for (const std::int64_t channels : {1, 3, 15, 16, 17, 40}) {
            for (const std::int64_t outputs : {1, 2, 7, 8, 9, 20}) {
              const Edge edge = edge_of(channels + outputs);
              check_window(kernel, {op, 3, 2, 1 + outputs % 2, outputs, channels, edge}, random);
            }
          }
          check_window(kernel, {op, 1, 1, 1, 5, 16, Edge::kEnd}, random);
          check_window(kernel, {op, 7, 7, 3, 1, 33, Edge::kFront}, random);
        }
      },
      [&](const KernelRow<WindowArgs>& kernel) {
        for (const Window op : kAll) {
          check_window(kernel, {op, 3, 3, 1, 26, 240, Edge::kEnd}, random);
          check_window(kernel, {op, 7, 7, 1, 1, 1280, Edge::kEnd}, random);
        }
        check_window(kernel, {Window::kWeightedF32, 5, 5, 1, 10, 480, Edge::kEnd}, random);
        check_window(kernel, {Window::kWeightedF32, 3, 3, 2, 55, 24, Edge::kEnd}, random);
        check_window(kernel, {Window::kWeightedF32, 3, 3, 1, 5, 1152, Edge::kEnd}, random);
        check_window(kernel, {Window::kWeightedF32, 5, 3, 1, 1, 1152, Edge::kEnd}, random);
      });
}

void test_interpolate() {
  Random random(20261103);
  for_each_row<InterpolateArgs>(
      [&](const KernelRow<InterpolateArgs>& kernel) {
        for (const std::int64_t channels : {1, 3, 16, 17, 40}) {
          check_interpolate<std::int8_t>(kernel, 6, channels, edge_of(channels), random);
          check_interpolate<float>(kernel, 6, channels, edge_of(channels), random);
        }
      },
      [&](const KernelRow<InterpolateArgs>& kernel) {
        check_interpolate<std::int8_t>(kernel, 64, 64, Edge::kEnd, random);
        check_interpolate<float>(kernel, 64, 64, Edge::kEnd, random);
      });
}

void test_lookup_s8() {
  Random random(20261104);
  for_each_row<LookupS8Args>(
      [&](const KernelRow<LookupS8Args>& kernel) {
        for (const std::int64_t n : {1, 15, 16, 17, 63, 64, 65, 256, 300}) {
          check_lookup(kernel, n, edge_of(n), random);
        }
      },
      [&](const KernelRow<LookupS8Args>& kernel) {
        check_lookup(kernel, 28 * 28 * 120, Edge::kEnd, random);
      });
}

}  // namespace octavo_test
