// SPDX-License-Identifier: Apache-2.0
// quantize_rows and epilogue rows: what happens to a row of a linear layer before and after the
// product.
#include <cfloat>
#include <cmath>
#include <limits>

#include "bench.h"
#include "guarded.h"
#include "reference.h"
#include "tests.h"

namespace octavo_test {
namespace {

using namespace octavo;

constexpr float kInf = std::numeric_limits<float>::infinity();

// Rows that reach every branch of the quantizer; random ones come after them.
float row_value(int kind, std::int64_t i, std::int64_t k, Random& random) {
  if (is_timed_case()) return random.real(4.0f);
  switch (kind) {
    case 0: return 0.0f;
    case 1: return i % 2 ? FLT_MAX : -FLT_MAX;                         // the range overflows
    case 2: return random.real(1.0e-39f);                              // subnormal
    case 3: return static_cast<float>(random.between(-254, 255)) / 2;  // ties
    case 4: return std::fabs(random.real(3.0f));                       // one-sided
    case 5: return -std::fabs(random.real(3.0f)) - 5.0f;
    case 6: return i == 0 ? NAN : 1.0f;
    case 7: return i % 3 == 0 ? kInf : -1.0f;
    case 8: return i % 5 == 4 ? -kInf : 1.0f;
    case 9: return -0.0f;
    case 10: return random.real(1.0e38f);
    case 11: return i == k - 1 ? NAN : 1.0f;
    case 12: return i == k / 2 ? -kInf : 1.0f;
    default: return random.real(4.0f);
  }
}
constexpr int kKinds = 15;

struct RowsCase {
  std::int64_t k;
  ActivationEncoding form;
  bool symmetric;
  bool is_static;
  bool pad;
  Edge edge;
  bool scaled = false;
};

RowCodes expected_row(const RowsCase& c, const std::vector<float>& row, float scale,
                      int zero_point) {
  if (!c.is_static) return quantized_row(row, c.symmetric);
  RowCodes out{scale, zero_point, {}};
  for (const float x : row) {
    out.codes.push_back(static_cast<std::int8_t>(saturated(x / scale, zero_point, -128, 127)));
  }
  return out;
}

// What the row's bytes must be in the form asked for; unpadded bytes keep their filling.
std::vector<std::uint8_t> expected_bytes(const RowsCase& c, const RowCodes& row, std::int64_t width,
                                         std::uint8_t filling) {
  const std::int64_t k_pad = round_up(c.k, 64);
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(width), filling);
  for (std::int64_t i = 0; i < k_pad; ++i) {
    if (i >= c.k && !c.pad) break;
    const int code = i < c.k ? row.codes[static_cast<std::size_t>(i)] : 0;
    const int shift = c.form == ActivationEncoding::kU8 && i < c.k ? 128 : 0;
    bytes[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(code + shift);
    if (c.form == ActivationEncoding::kSignAbs) {
      bytes[static_cast<std::size_t>(i)] = code < 0 ? 255 : 0;
      bytes[static_cast<std::size_t>(k_pad + i)] = static_cast<std::uint8_t>(std::abs(code));
    }
  }
  return bytes;
}

void check_rows(const KernelRow<QuantizeRowsArgs>& kernel, const RowsCase& c, Random& random) {
  constexpr std::uint8_t kFilling = 0xa5;
  const float static_scale = 0.0371f;
  const int static_zero_point = -7;
  const std::int64_t k_pad = round_up(c.k, 64);
  const std::int64_t width = c.form == ActivationEncoding::kSignAbs ? 2 * k_pad : k_pad;
  const std::int64_t x_stride = c.edge == Edge::kEnd ? c.k : c.k + 3;
  Guarded<float> x(kKinds * x_stride - (x_stride - c.k), c.edge);
  Guarded<std::uint8_t> a(kKinds * width, c.edge);
  Guarded<float> scale(kKinds, c.edge);
  Guarded<std::int32_t> zero_point(kKinds, c.edge);
  Guarded<float> multiplier(c.k, c.edge);
  for (std::int64_t i = 0; i < c.k; ++i) multiplier[i] = i % 7 == 3 ? 0.0f : random.real(2.0f);
  x.fill(0.0f);
  a.fill(kFilling);
  for (int m = 0; m < kKinds; ++m) {
    for (std::int64_t i = 0; i < c.k; ++i) x[m * x_stride + i] = row_value(m, i, c.k, random);
  }
  QuantizeRowsArgs args;
  args.x = x.data();
  args.x_stride = x_stride;
  args.multiplier = c.scaled ? multiplier.data() : nullptr;
  args.m = kKinds;
  args.k = static_cast<std::int32_t>(c.k);
  args.symmetric = c.symmetric;
  args.static_scale = c.is_static ? &static_scale : nullptr;
  args.static_zero_point = static_zero_point;
  args.form = c.form;
  args.a = a.data();
  args.a_stride = width;
  args.a_abs_offset = k_pad;
  args.pad = c.pad;
  args.scale = scale.data();
  args.zero_point = zero_point.data();
  kernel.run(args);
  for (int m = 0; m < kKinds; ++m) {
    std::vector<float> row(x.data() + m * x_stride, x.data() + m * x_stride + c.k);
    for (std::int64_t i = 0; c.scaled && i < c.k; ++i) {
      row[static_cast<std::size_t>(i)] *= multiplier[i];
    }
    const RowCodes expected = expected_row(c, row, static_scale, static_zero_point);
    const std::string what = std::string(kernel.name) + " k=" + std::to_string(c.k) + " form " +
                             std::to_string(static_cast<int>(c.form)) +
                             (c.scaled ? " scaled" : "") + " row " + std::to_string(m);
    const std::vector<std::uint8_t> bytes = expected_bytes(c, expected, width, kFilling);
    check_same(a.data() + m * width, bytes.data(), width, what);
    check(same_bits(scale[m], expected.scale), what + " scale");
    check(zero_point[m] == expected.zero_point + (c.form == ActivationEncoding::kU8 ? 128 : 0),
          what + " zero point");
  }
  time_case(std::string(kernel.name) + " m=" + std::to_string(kKinds) +
                " k=" + std::to_string(c.k) + (c.is_static ? " static" : " dynamic"),
            [&] { kernel.run(args); });
}

struct EpilogueCase {
  std::int64_t m, n;
  Activation activation;
  bool bias, addend, residual, int8_out;
  Edge edge;
};

struct EpilogueData {
  EpilogueData(const EpilogueCase& c, Random& random)
      : acc_stride(round_up(c.n, 16)),
        stride(c.edge == Edge::kEnd ? c.n : c.n + 5),
        acc(c.m * acc_stride, c.edge),
        zero_point(c.m, c.edge),
        col_sum(c.n, c.edge),
        row_scale(c.m, c.edge),
        col_scale(c.n, c.edge),
        bias(c.n, c.edge),
        addend((c.m - 1) * stride + c.n, c.edge),
        residual((c.m - 1) * stride + c.n, c.edge) {
    for (std::int64_t i = 0; i < acc.size(); ++i) {
      acc[i] = static_cast<std::int32_t>(
          i % 7 == 6 && !is_timed_case() ? random.next() : random.between(-40000, 40000));
    }
    for (std::int64_t i = 0; i < c.m; ++i) {
      zero_point[i] = static_cast<std::int32_t>(random.between(-128, 255));
      row_scale[i] = i == 2 && !is_timed_case() ? NAN : std::fabs(random.real(0.02f));
    }
    for (std::int64_t i = 0; i < c.n; ++i) {
      col_sum[i] = static_cast<std::int32_t>(random.between(-20000, 20000));
      col_scale[i] = i == 17 && !is_timed_case() ? kInf : std::fabs(random.real(0.02f));
      bias[i] = random.real(2.0f);
    }
    for (std::int64_t i = 0; i < residual.size(); ++i) {
      addend[i] = random.real(2.0f);
      residual[i] = random.real(2.0f);
    }
  }

  std::int64_t acc_stride, stride;
  Guarded<std::int32_t> acc, zero_point, col_sum;
  Guarded<float> row_scale, col_scale, bias, addend, residual;
};

constexpr float kOutScale = 0.043f;
constexpr int kOutZeroPoint = 5;

float relu_high(const EpilogueCase& c) { return c.addend ? 1.5f : kInf; }

float expected_output(const EpilogueCase& c, EpilogueData& d, std::int64_t m, std::int64_t n) {
  const std::uint32_t shift =
      static_cast<std::uint32_t>(d.zero_point[m]) * static_cast<std::uint32_t>(d.col_sum[n]);
  const auto sum =
      static_cast<std::int32_t>(static_cast<std::uint32_t>(d.acc[m * d.acc_stride + n]) - shift);
  float y = static_cast<float>(sum) * (d.row_scale[m] * d.col_scale[n]);
  if (c.bias) y = y + d.bias[n];
  if (c.addend) y = y + d.addend[m * d.stride + n];
  y = activation_of(c.activation, y);
  if (c.activation == Activation::kRelu && y > relu_high(c)) y = relu_high(c);
  if (c.residual) y = y + d.residual[m * d.stride + n];
  return y;
}

template <class Out>
void check_epilogue(const KernelRow<EpilogueArgs>& kernel, const EpilogueCase& c, Random& random) {
  EpilogueData d(c, random);
  Guarded<Out> out((c.m - 1) * d.stride + c.n, c.edge);
  out.fill(static_cast<Out>(99));
  EpilogueArgs args;
  args.acc = d.acc.data();
  args.acc_stride = d.acc_stride;
  args.m = static_cast<std::int32_t>(c.m);
  args.n = static_cast<std::int32_t>(c.n);
  args.zero_point = d.zero_point.data();
  args.col_sum = d.col_sum.data();
  args.row_scale = d.row_scale.data();
  args.col_scale = d.col_scale.data();
  args.bias = c.bias ? d.bias.data() : nullptr;
  args.addend = c.addend ? d.addend.data() : nullptr;
  args.addend_stride = d.stride;
  args.residual = c.residual ? d.residual.data() : nullptr;
  args.residual_stride = d.stride;
  args.activation = c.activation;
  args.relu_high = relu_high(c);
  args.out = out.data();
  args.out_stride = d.stride;
  args.out_scale = c.int8_out ? &kOutScale : nullptr;
  args.out_zero_point = kOutZeroPoint;
  kernel.run(args);
  const std::string what = std::string(kernel.name) + " m=" + std::to_string(c.m) +
                           " n=" + std::to_string(c.n) + " " + name_of(c.activation);
  std::vector<Out> expected(static_cast<std::size_t>(out.size()), static_cast<Out>(99));
  for (std::int64_t m = 0; m < c.m; ++m) {
    for (std::int64_t n = 0; n < c.n; ++n) {
      const float y = expected_output(c, d, m, n);
      Out& value = expected[static_cast<std::size_t>(m * d.stride + n)];
      value = static_cast<Out>(c.int8_out ? saturated(y / kOutScale, kOutZeroPoint, -128, 127) : y);
    }
  }
  check_same(out.data(), expected.data(), out.size(), what);
  time_case(what, [&] { kernel.run(args); });
}

}  // namespace

void test_quantize_rows() {
  Random random(20240302);
  using Row = KernelRow<QuantizeRowsArgs>;
  const auto checks = [&](const Row& kernel) {
    for (const std::int64_t k : {0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 131}) {
      for (const ActivationEncoding form :
           {ActivationEncoding::kS8, ActivationEncoding::kSignAbs, ActivationEncoding::kU8}) {
        for (const Edge edge : {Edge::kEnd, Edge::kFront}) {
          const bool pad = (k % 2 == 0) == (edge == Edge::kEnd);
          for (const bool scaled : {false, true}) {
            check_rows(kernel, {k, form, false, false, pad, edge, scaled}, random);
            check_rows(kernel, {k, form, true, false, !pad, edge, scaled}, random);
            check_rows(kernel, {k, form, false, true, pad, edge, scaled}, random);
          }
        }
      }
    }
  };
  for_each_row<QuantizeRowsArgs>(checks, [&](const Row& kernel) {
    check_rows(kernel, {768, ActivationEncoding::kU8, false, false, true, Edge::kEnd}, random);
    check_rows(kernel, {768, ActivationEncoding::kU8, false, true, true, Edge::kEnd}, random);
  });
}

void test_epilogue() {
  Random random(20240303);
  constexpr Activation kAll[] = {Activation::kNone,     Activation::kRelu, Activation::kGelu,
                                 Activation::kGeluTanh, Activation::kSilu, Activation::kTanh};
  using Row = KernelRow<EpilogueArgs>;
  const auto checks = [&](const Row& kernel) {
    for (const std::int64_t n : {1, 15, 16, 17, 31, 32, 35}) {
      for (const Activation activation : kAll) {
        for (int options = 0; options < 16; ++options) {
          const bool bias = options & 1, residual = options & 2, addend = options & 4;
          const std::int64_t m = options == 1 ? 1 : 4;
          for (const Edge edge : {Edge::kEnd, Edge::kFront}) {
            const bool int8_out = (options & 8) != 0;
            const EpilogueCase c = {m, n, activation, bias, addend, residual, int8_out, edge};
            int8_out ? check_epilogue<std::int8_t>(kernel, c, random)
                     : check_epilogue<float>(kernel, c, random);
          }
        }
      }
    }
  };
  for_each_row<EpilogueArgs>(checks, [&](const Row& kernel) {
    for (const Activation activation : {Activation::kNone, Activation::kGelu}) {
      check_epilogue<float>(kernel, {16, 768, activation, true, false, false, false, Edge::kEnd},
                            random);
    }
  });
}

}  // namespace octavo_test
