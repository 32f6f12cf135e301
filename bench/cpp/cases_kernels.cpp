// SPDX-License-Identifier: Apache-2.0
// The kernels as layers call them.
#include <cmath>
#include <memory>
#include <random>
#include <tuple>
#include <utility>

#include "cases.h"
#include "dispatch/registry.h"
#include "ops/attention_s8.h"
#include "ops/float_rows.h"
#include "ops/linear.h"
#include "ops/linear_f32.h"
#include "ops/matmul.h"
#include "ops/quantize.h"

namespace octavo_bench {
namespace {

using namespace octavo;

constexpr const char* kSparseFormat = "windowed16";
constexpr double kZeros = 0.9;

// An aligned array that lives as long as a call that has it.
template <class T>
class Array {
 public:
  explicit Array(std::int64_t size)
      : buffer_(std::make_shared<AlignedBuffer>(static_cast<std::size_t>(size) * sizeof(T))),
        size_(size) {
    for (T& value : *this) value = T{0};
  }
  T* begin() const { return buffer_->as<T>(); }
  T* end() const { return begin() + size_; }
  T* data() const { return begin(); }

 private:
  std::shared_ptr<AlignedBuffer> buffer_;
  std::int64_t size_;
};

// The same values in every run.
class Values {
 public:
  Array<float> floats(std::int64_t size) {
    Array<float> out(size);
    std::normal_distribution<float> normal;
    for (float& value : out) value = normal(engine_);
    return out;
  }
  Array<float> scales(std::int64_t size) {
    Array<float> out(size);
    std::uniform_real_distribution<float> scale(0.001f, 0.002f);
    for (float& value : out) value = scale(engine_);
    return out;
  }
  Array<std::int8_t> codes(std::int64_t size, double zeros = 0) {
    Array<std::int8_t> out(size);
    std::uniform_int_distribution<int> code(-127, 127);
    std::bernoulli_distribution zero(zeros);
    for (std::int8_t& value : out)
      value = static_cast<std::int8_t>(zero(engine_) ? 0 : code(engine_));
    return out;
  }

 private:
  std::minstd_rand engine_{1};
};

std::string shape(std::initializer_list<std::int64_t> sizes) {
  std::string out;
  for (const std::int64_t size : sizes) out += (out.empty() ? "" : "x") + std::to_string(size);
  return out;
}

Case kernel(const char* family, std::initializer_list<std::int64_t> sizes, std::int64_t operations,
            std::int64_t bytes, Limit limit, std::function<Call()> prepare) {
  return {"kernel",
          std::string(family) + " " + shape(sizes),
          static_cast<double>(operations),
          static_cast<double>(bytes),
          limit,
          0,
          std::move(prepare)};
}

Case gemm_s8(std::int64_t m, std::int64_t n, std::int64_t k) {
  const auto prepare = [=]() -> Call {
    Values values;
    const Array<std::int8_t> a = values.codes(m * k);
    const auto b = std::make_shared<DenseWeight>(values.codes(n * k).data(), n, k);
    const Array<std::int32_t> out(m * n);
    const CodeMatrix rows = {reinterpret_cast<const std::uint8_t*>(a.data()), k, 1, false};
    return [=, keep = a] { matmul_packed(m, rows, *b, out.data()); };
  };
  return kernel("gemm_s8", {m, n, k}, 2 * m * n * k, n * k + m * k + 4 * m * n, Limit::kDotAndRead,
                prepare);
}

// A layer with float32 inputs and outputs.
Call layer_call(std::shared_ptr<const LinearLayer> layer, std::int64_t m, Values& values) {
  const Array<float> x = values.floats(m * layer->k()), out(m * layer->n());
  return [=] { layer->run(m, {x.data(), layer->k()}, {}, {out.data(), layer->n()}); };
}

Call int8_layer(std::int64_t m, std::int64_t n, std::int64_t k, double zeros, const char* format) {
  Values values;
  const Array<std::int8_t> codes = values.codes(n * k, zeros);
  const Array<float> scale = values.scales(n), bias = values.floats(n);
  const auto layer = std::make_shared<Linear>(codes.data(), n, k, scale.data(), bias.data(),
                                              LinearOptions{}, *find_weight_format(format));
  return layer_call(layer, m, values);
}

Case linear_s8(std::int64_t m, std::int64_t n, std::int64_t k) {
  return kernel("linear_s8", {m, n, k}, 2 * m * n * k, n * k + 4 * m * (k + n) + 12 * n,
                Limit::kDotAndRead, [=] { return int8_layer(m, n, k, 0, "dense"); });
}

Case sparse_s8(std::int64_t m, std::int64_t n, std::int64_t k) {
  return kernel("sparse_s8", {m, n, k}, 2 * m * n * k / 10, n * k / 10 + 4 * m * (k + n) + 12 * n,
                Limit::kDotAndRead, [=] { return int8_layer(m, n, k, kZeros, kSparseFormat); });
}

Case linear_f32(std::int64_t m, std::int64_t n, std::int64_t k) {
  const auto prepare = [=]() -> Call {
    Values values;
    const auto weight = std::make_shared<PanelsF32>(values.floats(n * k).data(), n, k);
    const Array<float> bias = values.floats(n);
    return layer_call(std::make_shared<LinearF32>(weight, bias.data(), Activation::kNone, nullptr),
                      m, values);
  };
  return kernel("linear_f32", {m, n, k}, 0, 4 * n * k + 4 * m * k + 8 * m * n,
                m == 1 ? Limit::kRead : Limit::kNone, prepare);
}

Case quantize_rows(std::int64_t m, std::int64_t k) {
  const auto prepare = [=]() -> Call {
    Values values;
    const Array<float> x = values.floats(m * k), scale(m);
    const Array<std::int8_t> codes(m * k);
    const Array<std::int32_t> zero_point(m);
    return [=] {
      quantize_dynamic(m, k, {x.data(), k}, false, codes.data(), scale.data(), zero_point.data());
    };
  };
  return kernel("quantize_rows", {m, k}, 0, 5 * m * k, Limit::kCopy, prepare);
}

Case dequantize(std::int64_t m, std::int64_t k) {
  const auto prepare = [=]() -> Call {
    Values values;
    const Array<std::int8_t> codes = values.codes(m * k);
    const Array<float> scale = values.scales(1), out(m * k);
    return [=] {
      dequantize_linear({1, 1, m * k, 0}, {CodeType::kS8, codes.data()},
                        {FloatType::kF32, scale.data()}, nullptr, out.data());
    };
  };
  return kernel("dequantize", {m, k}, 0, 5 * m * k, Limit::kCopy, prepare);
}

// A layer's sums to its outputs: scales, zero points, bias.
Case epilogue(std::int64_t m, std::int64_t n) {
  const auto prepare = [=]() -> Call {
    const KernelRow<EpilogueArgs>& row = select<EpilogueArgs>(active_isas());
    Values values;
    const Array<std::int32_t> sums(m * n), zero_point(m), column_sum(n);
    const Array<float> row_scale = values.scales(m), scale = values.scales(n);
    const Array<float> bias = values.floats(n), out(m * n);
    EpilogueArgs args{};
    args.acc = sums.data();
    args.acc_stride = args.out_stride = n;
    args.m = static_cast<std::int32_t>(m);
    args.n = static_cast<std::int32_t>(n);
    args.zero_point = zero_point.data();
    args.col_sum = column_sum.data();
    args.row_scale = row_scale.data();
    args.col_scale = scale.data();
    args.bias = bias.data();
    args.out = out.data();
    const auto keep = std::make_tuple(sums, zero_point, column_sum, row_scale, scale, bias, out);
    return [args, keep, &row] { row.run(args); };
  };
  return kernel("epilogue", {m, n}, 0, 8 * m * n, Limit::kCopy, prepare);
}

Case layer_norm_case(std::int64_t m, std::int64_t k) {
  const auto prepare = [=]() -> Call {
    Values values;
    const Array<float> x = values.floats(m * k), weight = values.floats(k), bias = values.floats(k);
    const Array<float> out(m * k);
    return [=] {
      layer_norm(m, k, {x.data(), k}, weight.data(), bias.data(), 1e-12f, {}, {out.data(), k});
    };
  };
  return kernel("layer_norm", {m, k}, 0, 8 * m * k, Limit::kCopy, prepare);
}

Case attention_case(std::int64_t tokens, std::int64_t heads, std::int64_t d) {
  const std::int64_t width = heads * d;
  const auto prepare = [=]() -> Call {
    Values values;
    const std::int64_t size = tokens * width;
    const Array<float> q = values.floats(size), k = values.floats(size), v = values.floats(size);
    const Array<float> out(size);
    const GroupedShape shape = {{1, tokens, tokens, heads, d}, heads};
    const float scale = 1.0f / std::sqrt(static_cast<float>(d));
    return [=] {
      const auto rows = [=](const Array<float>& x) { return TokenRows{x.data(), size, width}; };
      attention_s8(shape, rows(q), rows(k), rows(v), {}, scale, out.data());
    };
  };
  return kernel("attention_s8", {tokens, width}, 4 * tokens * tokens * width, 16 * tokens * width,
                Limit::kDotAndRead, prepare);
}

}  // namespace

std::vector<Case> kernel_cases() {
  return {gemm_s8(1, 768, 768),       gemm_s8(128, 768, 768),    linear_s8(1, 768, 768),
          linear_s8(128, 768, 768),   sparse_s8(1, 768, 768),    sparse_s8(128, 768, 768),
          linear_f32(1, 768, 768),    linear_f32(128, 768, 768), quantize_rows(128, 768),
          dequantize(128, 768),       epilogue(128, 768),        layer_norm_case(128, 384),
          attention_case(128, 12, 32)};
}

}  // namespace octavo_bench
