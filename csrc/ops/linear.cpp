// SPDX-License-Identifier: Apache-2.0
#include "ops/linear.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "ops/code_rows.h"
#include "ops/gemm_driver.h"

namespace octavo {
namespace {

class FloatRows final : public RowSource {
 public:
  FloatRows(const Rows<const float>& x, const Linear& linear)
      : x_(x),
        k_(linear.k()),
        group_(linear.weight().group()),
        order_(linear.weight().order()),
        multiplier_(linear.multiplier()),
        options_(linear.options()),
        kernel_(select<QuantizeRowsArgs>(active_isas())) {}

  void fill(std::int64_t m0, std::int64_t rows, const CodeBlock& block) const override {
    if (group_ != 0) {
      fill_groups(m0, rows, block);
      return;
    }
    QuantizeRowsArgs args = arguments(m0, rows, block);
    args.k = static_cast<std::int32_t>(k_);
    args.symmetric = options_.symmetric;
    args.pad = true;
    kernel_.run(args);
  }

 private:
  // Each group of a row is quantized as a row of its own.
  void fill_groups(std::int64_t m0, std::int64_t rows, const CodeBlock& block) const {
    QuantizeRowsArgs args = arguments(m0, rows, block);
    args.symmetric = true;
    args.pad = false;
    for (std::int64_t k = 0; k < k_; k += group_) {
      args.k = static_cast<std::int32_t>(std::min(group_, k_ - k));
      if (order_ != nullptr) {
        fill_ordered_group(m0, rows, k, args);
      } else {
        kernel_.run(args);
      }
      args.x += group_;
      args.a += group_;
      args.scale += block.scale_stride;
      if (args.multiplier != nullptr) args.multiplier += group_;
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      std::memset(block.codes + r * block.stride + k_, 0,
                  static_cast<std::size_t>(padded_k(k_) - k_));
    }
  }

  // Inputs from k on of the weight's order, multiplied where they are gathered.
  void fill_ordered_group(std::int64_t m0, std::int64_t rows, std::int64_t k,
                          QuantizeRowsArgs args) const {
    float gathered[Weight::kMostGroup];
    args.x = gathered;
    args.multiplier = nullptr;
    args.m = 1;
    for (std::int64_t r = 0; r < rows; ++r) {
      const float* row = x_.data + (m0 + r) * x_.stride;
      for (std::int64_t i = 0; i < args.k; ++i) {
        const std::int32_t input = order_[k + i];
        gathered[i] = multiplier_ ? row[input] * multiplier_[input] : row[input];
      }
      kernel_.run(args);
      args.a += args.a_stride;
      ++args.scale;
      ++args.zero_point;
    }
  }

  QuantizeRowsArgs arguments(std::int64_t m0, std::int64_t rows, const CodeBlock& block) const {
    QuantizeRowsArgs args;
    args.x = x_.data + m0 * x_.stride;
    args.x_stride = x_.stride;
    args.multiplier = multiplier_;
    args.m = static_cast<std::int32_t>(rows);
    args.static_scale = options_.input_scale ? &*options_.input_scale : nullptr;
    args.static_zero_point = options_.input_zero_point;
    args.form = block.form;
    args.a = block.codes;
    args.a_stride = block.stride;
    args.a_abs_offset = block.abs_offset;
    args.scale = block.row_scale;
    args.zero_point = block.zero_point;
    return args;
  }

  const Rows<const float>& x_;
  std::int64_t k_, group_;
  const std::int32_t* order_;
  const float* multiplier_;
  const LinearOptions& options_;
  const KernelRow<QuantizeRowsArgs>& kernel_;
};

class GivenCodes final : public RowSource {
 public:
  GivenCodes(const Rows<const std::int8_t>& codes, std::int64_t k, const float* row_scale,
             const std::int32_t* zero_point)
      : codes_(codes), k_(k), row_scale_(row_scale), zero_point_(zero_point) {}

  void fill(std::int64_t m0, std::int64_t rows, const CodeBlock& block) const override {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(codes_.data);
    copy_codes(bytes + m0 * codes_.stride, codes_.stride, 1, 0, rows, k_, block);
    const std::int32_t shift = block.form == ActivationEncoding::kU8 ? 128 : 0;
    for (std::int64_t r = 0; r < rows; ++r) {
      block.row_scale[r] = row_scale_[m0 + r];
      block.zero_point[r] = wrapping_add(zero_point_[m0 + r], shift);
    }
  }

 private:
  const Rows<const std::int8_t>& codes_;
  std::int64_t k_;
  const float* row_scale_;
  const std::int32_t* zero_point_;
};

class EpilogueSink final : public SumSink {
 public:
  EpilogueSink(const Linear& linear, const Added& added, const Rows<void>& out)
      : linear_(linear), added_(added), out_(out), kernel_(select<EpilogueArgs>(active_isas())) {}

  void take(const SumBlock& block) const override {
    const LinearOptions& options = linear_.options();
    EpilogueArgs args;
    args.acc = block.sums;
    args.scaled = block.scaled;
    args.acc_stride = block.stride;
    args.m = static_cast<std::int32_t>(block.rows);
    args.n = static_cast<std::int32_t>(block.columns);
    args.zero_point = block.row_params->zero_point;
    args.col_sum = block.scaled ? nullptr : linear_.weight().col_sum() + block.n0;
    args.row_scale = block.row_params->row_scale;
    args.col_scale = block.scaled ? nullptr : linear_.scale() + block.n0;
    args.bias = linear_.bias() ? linear_.bias() + block.n0 : nullptr;
    args.addend = at_block(added_.before, block);
    args.addend_stride = added_.before.stride;
    args.residual = at_block(added_.after, block);
    args.residual_stride = added_.after.stride;
    args.activation = options.activation;
    args.out_stride = out_.stride;
    const std::int64_t at = block.m0 * out_.stride + block.n0;
    const std::int64_t item = options.output_scale ? 1 : sizeof(float);
    args.out = static_cast<char*>(out_.data) + at * item;
    args.out_scale = options.output_scale ? &*options.output_scale : nullptr;
    args.out_zero_point = options.output_zero_point;
    kernel_.run(args);
  }

 private:
  static const float* at_block(const Rows<const float>& rows, const SumBlock& block) {
    return rows.data ? rows.data + block.m0 * rows.stride + block.n0 : nullptr;
  }

  const Linear& linear_;
  const Added& added_;
  const Rows<void>& out_;
  const KernelRow<EpilogueArgs>& kernel_;
};

}  // namespace

AlignedBuffer copy_floats(const float* values, std::int64_t n) {
  if (values == nullptr) return {};
  const std::size_t bytes = static_cast<std::size_t>(n) * sizeof(float);
  AlignedBuffer buffer(bytes);
  if (bytes != 0) std::memcpy(buffer.as<float>(), values, bytes);
  return buffer;
}

Linear::Linear(const std::int8_t* codes, std::int64_t n, std::int64_t k, const float* scale,
               const float* bias, const LinearOptions& options, const WeightFormat& format,
               const float* multiplier)
    : Linear(format.pack(codes, n, k), format.name, scale, bias, options, multiplier) {}

Linear::Linear(std::shared_ptr<const Weight> weight, const char* format, const float* scale,
               const float* bias, const LinearOptions& options, const float* multiplier)
    : format_(format),
      weight_(std::move(weight)),
      scale_(copy_floats(scale, n())),
      bias_(copy_floats(bias, n())),
      multiplier_(copy_floats(multiplier, k())),
      has_bias_(bias != nullptr),
      options_(options) {
  if (weight_->group() == 0 ? scale == nullptr && n() > 0 : scale != nullptr) {
    throw std::invalid_argument("scale: expected one for each output, or groups of inputs");
  }
  if (weight_->group() != 0 && options.input_scale) {
    throw std::invalid_argument("weight: expected inputs in groups to be quantized when they come");
  }
}

void Linear::run(std::int64_t m, Rows<const float> x, const Added& added, Rows<void> out) const {
  run_gemm(m, *weight_, FloatRows(x, *this), EpilogueSink(*this, added, out));
}

void Linear::run_codes(std::int64_t m, Rows<const std::int8_t> codes, const float* row_scale,
                       const std::int32_t* zero_point, const Added& added, Rows<void> out) const {
  if (weight_->group() != 0) {
    throw std::invalid_argument("self: expected a weight with one scale for each output");
  }
  run_gemm(m, *weight_, GivenCodes(codes, k(), row_scale, zero_point),
           EpilogueSink(*this, added, out));
}

bool Linear::reads_like(const Linear& other) const {
  const LinearOptions &a = options_, &b = other.options_;
  const auto same = [&](const auto* mine, const auto* its) {
    const bool both = mine != nullptr && its != nullptr;
    return both ? std::equal(mine, mine + k(), its) : mine == its;
  };
  return k() == other.k() && weight_->group() == other.weight_->group() &&
         a.symmetric == b.symmetric && a.input_scale == b.input_scale &&
         a.input_zero_point == b.input_zero_point && same(multiplier(), other.multiplier()) &&
         same(weight_->order(), other.weight_->order());
}

void run_linears(std::int64_t m, Rows<const float> x, const LinearCall* calls, std::int64_t count) {
  std::optional<EpilogueSink> sinks[kMostLinears];
  Product products[kMostLinears];
  for (std::int64_t i = 0; i < count; ++i) {
    const LinearCall& call = calls[i];
    products[i] = {&call.layer->weight(), &sinks[i].emplace(*call.layer, call.added, call.out)};
  }
  run_gemm(m, products, count, FloatRows(x, *calls->layer));
}

std::size_t Linear::nbytes() const {
  return weight_->nbytes() + scale_.size() + bias_.size() + multiplier_.size();
}

}  // namespace octavo
