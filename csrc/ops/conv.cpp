// SPDX-License-Identifier: Apache-2.0
#include "ops/conv.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "memory/result_cache.h"
#include "ops/conv_codes.h"
#include "ops/gemm_driver.h"
#include "ops/linear_f32.h"
#include "ops/quantize.h"
#include "ops/scratch.h"
#include "ops/window_rows.h"
#include "ops/work_split.h"
#include "weights/dense.h"

namespace octavo {
namespace {

// Multiply-adds of float32 that one thread does in about 2 us.
constexpr std::int64_t kWorkPerThread = 200000;
// Rows of a task, of float32, and what of them is gathered at once: 256 KiB, a part of L2.
constexpr std::int64_t kTaskRows = 96, kFewestRows = 12, kGathered = 65536;

// What becomes of sums of a group of outputs.
class CodeSink final : public SumSink {
 public:
  // offset: of sums of signed codes, then, n values behind, of those of codes + 128.
  CodeSink(const std::int32_t* offset, const float* multiplier, const CodeRange& codes,
           std::int8_t* out, std::int64_t n)
      : offset_(offset),
        multiplier_(multiplier),
        codes_(codes),
        out_(out),
        n_(n),
        kernel_(select<RequantizeArgs>(active_isas())) {}

  void take(const SumBlock& block) const override {
    const bool shifted = block.row_params->form == ActivationEncoding::kU8;
    RequantizeArgs args;
    args.sums = block.sums;
    args.sums_stride = block.stride;
    args.m = static_cast<std::int32_t>(block.rows);
    args.n = static_cast<std::int32_t>(block.columns);
    args.offset = offset_ + (shifted ? n_ : 0) + block.n0;
    args.multiplier = multiplier_ + block.n0;
    args.low = codes_.low;
    args.high = codes_.high;
    args.zero_point = codes_.zero_point;
    args.out = out_ + block.m0 * n_ + block.n0;
    args.out_stride = n_;
    kernel_.run(args);
  }

 private:
  const std::int32_t* offset_;
  const float* multiplier_;
  const CodeRange& codes_;
  std::int8_t* out_;
  std::int64_t n_;
  const KernelRow<RequantizeArgs>& kernel_;
};

// Within bounds, if there are any.
void clamp_rows(const Bounds& bounds, std::int64_t m, std::int64_t n, Rows<float> values) {
  if (!bounds.any()) return;
  if (values.stride == n) {  // a single row: short ones take longer
    n *= m;
    m = 1;
  }
  apply(Elementwise::kClamp, bounds, m, n, {values.data, values.stride}, values);
}

// The same of float32 outputs.
class FloatSink final : public SumSink {
 public:
  FloatSink(const Weight& weight, const float* scale, const float* bias, const Bounds& bounds,
            Rows<float> out)
      : weight_(weight), scale_(scale), bias_(bias), bounds_(bounds), out_(out) {}

  void take(const SumBlock& block) const override {
    EpilogueArgs args = {};
    args.acc = block.sums;
    args.acc_stride = block.stride;
    args.m = static_cast<std::int32_t>(block.rows);
    args.n = static_cast<std::int32_t>(block.columns);
    args.zero_point = block.row_params->zero_point;
    args.col_sum = weight_.col_sum() + block.n0;
    args.row_scale = block.row_params->row_scale;
    args.col_scale = scale_ + block.n0;
    args.bias = bias_ == nullptr ? nullptr : bias_ + block.n0;
    args.activation = bounds_.activation();
    args.relu_high = bounds_.high;
    const Rows<float> out = {out_.data + block.m0 * out_.stride + block.n0, out_.stride};
    args.out = out.data;
    args.out_stride = out.stride;
    select<EpilogueArgs>(active_isas()).run(args);
    clamp_rows(bounds_.behind_activation(), block.rows, block.columns, out);
  }

 private:
  const Weight& weight_;
  const float *scale_, *bias_;
  const Bounds& bounds_;
  Rows<float> out_;
};

using GroupWeights = std::vector<std::unique_ptr<const DenseWeight>>;

GroupWeights pack_groups(const Windows& w, const ConvWeight<std::int8_t>& weight) {
  const std::int64_t k = checked_mul(w.kernel_h, w.kernel_w, w.channels / weight.groups);
  const std::int64_t n = weight.n / weight.groups;
  GroupWeights packed;
  for (std::int64_t g = 0; g < weight.groups; ++g) {
    packed.push_back(std::make_unique<const DenseWeight>(weight.values + g * n * k, n, k));
  }
  return packed;
}

std::size_t nbytes_of(const GroupWeights& weights) {
  std::size_t bytes = 0;
  for (const auto& weight : weights) bytes += weight->nbytes();
  return bytes;
}

// What groups have of channels and outputs.
struct GroupSizes {
  std::int64_t count, channels, outputs;

  GroupSizes(const Windows& w, std::int64_t n, std::int64_t groups)
      : count(groups), channels(w.channels / groups), outputs(n / groups) {}
};

// For signed codes what is added to sums of x * weight, for codes + 128, and then the sums of
// magnitudes of weights below zero, n values each.
std::vector<std::int32_t> offsets_of(const GroupWeights& weights, std::int64_t n,
                                     const std::int8_t* values, const std::int32_t* bias,
                                     std::int32_t zero_point) {
  std::vector<std::int32_t> offsets(static_cast<std::size_t>(3 * n));
  const std::int64_t k = weights[0]->k();
  const std::int64_t share = n / static_cast<std::int64_t>(weights.size());
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int32_t sum = weights[i / share]->col_sum()[i % share];
    offsets[i] = wrapping_add(bias == nullptr ? 0 : bias[i], wrapping_mul(-zero_point, sum));
    offsets[n + i] = wrapping_add(offsets[i], wrapping_mul(-128, sum));
    for (std::int64_t j = 0; j < k; ++j) {
      const std::int32_t value = values[i * k + j];
      if (value < 0) offsets[2 * n + i] = wrapping_add(offsets[2 * n + i], -value);
    }
  }
  return offsets;
}

std::vector<float> copy_of(const float* values, std::int64_t n) {
  return values == nullptr ? std::vector<float>() : std::vector<float>(values, values + n);
}

// Where row `first` of values begins; null where there are none.
const float* part_of(const std::vector<float>& values, std::int64_t first) {
  return values.empty() ? nullptr : values.data() + first;
}

// Rows of float32 that outputs read of channels [first, first + count).
class FloatWindowRows {
 public:
  FloatWindowRows(const Windows& windows, const float* x, std::int64_t first, std::int64_t count)
      : w_(windows),
        x_(x),
        size_(windows.batch * windows.height * windows.width * windows.channels),
        first_(first),
        count_(count) {}

  // The row of output m, where it reads its own place alone.
  Rows<const float> in_place(std::int64_t m) const {
    return {x_ + m * w_.channels + first_, w_.channels};
  }

  // Rows [m0, m0 + rows), side by side; kSlack values behind them may be written too.
  static constexpr std::int64_t kSlack = 8;
  void gather(std::int64_t m0, std::int64_t rows, float* out) const {
    visit_outputs(
        w_, m0, rows, first_, count_, [](std::int64_t, std::int64_t) {},
        [&](std::int64_t at, std::int64_t n) {
          copy(at, n, out);
          out += n;
        },
        [&](std::int64_t n) { out = std::fill_n(out, n, 0.0f); });
  }

 private:
  // A few too many, where there are as many: a loop without a rest.
  void copy(std::int64_t at, std::int64_t n, float* out) const {
    if (at + n + kSlack > size_) {
      std::copy_n(x_ + at, n, out);
      return;
    }
    for (std::int64_t i = 0; i < n; i += kSlack) {
      std::memcpy(out + i, x_ + at + i, kSlack * sizeof(float));
    }
  }

  const Windows& w_;
  const float* x_;
  std::int64_t size_, first_, count_;
};

// y = layer(rows), of one group.
void run_f32(const LinearF32& layer, const Windows& w, const FloatWindowRows& x,
             const Bounds& bounds, Rows<float> out) {
  const std::int64_t m = w.outputs(), k = layer.k();
  const int threads = threads_for(checked_mul(m, k, layer.n()), kWorkPerThread);
  const bool in_place = w.one_to_one();
  if (in_place && (!bounds.any() || m < threads * kTaskRows)) {
    layer.run(m, x.in_place(0), {}, {out.data, out.stride});
    clamp_rows(bounds, m, layer.n(), out);
    return;
  }
  const std::int64_t most = in_place ? kTaskRows : kGathered / k;
  const std::int64_t at_once = std::clamp<std::int64_t>(most, kFewestRows, kTaskRows);
  const std::int64_t own = in_place ? 0 : checked_mul(at_once, k) + FloatWindowRows::kSlack;
  const CallMemory memory(checked_mul(threads, checked_mul(own, sizeof(float))));
  parallel_for(ceil_div(m, at_once), threads, [&](std::int64_t task, int worker) {
    const std::int64_t row = task * at_once, rows = std::min(at_once, m - row);
    Rows<const float> in = {memory.as<float>() + worker * own, k};
    if (in_place) {
      in = x.in_place(row);
    } else {
      x.gather(row, rows, memory.as<float>() + worker * own);
    }
    const Rows<float> result = {out.data + row * out.stride, out.stride};
    layer.run(rows, in, {}, {result.data, result.stride});
    clamp_rows(bounds, rows, layer.n(), result);
  });
}

}  // namespace

std::unique_ptr<const GraphStep> conv_s8(const WindowTensors& tensors,
                                         const ConvWeight<std::int8_t>& weight,
                                         const std::int32_t* bias, const float* multiplier,
                                         std::int32_t zero_point, const CodeRange& codes) {
  const std::int64_t n = weight.n;
  GroupWeights packed = pack_groups(tensors.windows, weight);
  std::vector<std::int32_t> offsets = offsets_of(packed, n, weight.values, bias, zero_point);
  const std::size_t nbytes = nbytes_of(packed) + static_cast<std::size_t>(n) * 16;
  return make_step(
      [=, size = GroupSizes(tensors.windows, n, weight.groups), weights = std::move(packed),
       offsets = std::move(offsets), multiplier = copy_of(multiplier, n)](std::uint8_t* arena) {
        const Windows& w = tensors.windows;
        for (std::int64_t g = 0; g < size.count; ++g) {
          const std::int64_t n0 = g * size.outputs;
          const WindowRows rows(w, tensors.x.of<std::int8_t>(arena), g * size.channels,
                                size.channels, zero_point);
          auto* const out = tensors.out.of<std::int8_t>(arena) + n0;
          const std::int32_t* offset = offsets.data() + n0;
          if (runs_in_one_pass(w.outputs(), rows.k(), active_isas())) {
            const CodesLayer layer = {*weights[g], offset, offset + 2 * n, multiplier.data() + n0,
                                      codes};
            run_in_one_pass(w.outputs(), layer, rows, out, n);
            continue;
          }
          const CodeSink sink(offset, multiplier.data() + n0, codes, out, n);
          run_gemm(w.outputs(), *weights[g], rows, sink);
        }
      },
      nbytes);
}

std::unique_ptr<const GraphStep> conv_dynamic(const WindowTensors& tensors,
                                              const ConvWeight<std::int8_t>& weight,
                                              const float* scale, const float* bias,
                                              const Bounds& bounds) {
  const std::int64_t n = weight.n;
  GroupWeights packed = pack_groups(tensors.windows, weight);
  const std::size_t nbytes = nbytes_of(packed) + static_cast<std::size_t>(n) * 8;
  return make_step(
      [=, size = GroupSizes(tensors.windows, n, weight.groups), weights = std::move(packed),
       scale = copy_of(scale, n), bias = copy_of(bias, n)](std::uint8_t* arena) {
        const Windows& w = tensors.windows;
        const std::int64_t pixels = w.height * w.width * w.channels;
        ScratchLayout layout;
        const std::int64_t scale_at = layout.add(w.batch, sizeof(float));
        const std::int64_t point_at = layout.add(w.batch, sizeof(std::int32_t));
        const std::int64_t codes_at = layout.add(checked_mul(w.batch, pixels), 1);
        const CallMemory memory(layout.bytes());
        auto* const bytes = memory.as<std::uint8_t>();
        auto* const scales = reinterpret_cast<float*>(bytes + scale_at);
        auto* const points = reinterpret_cast<std::int32_t*>(bytes + point_at);
        auto* const codes = reinterpret_cast<std::int8_t*>(bytes + codes_at);
        quantize_dynamic(w.batch, pixels, {tensors.x.of<float>(arena), pixels}, false, codes,
                         scales, points);
        const ImageCodes images = {scales, points};
        for (std::int64_t g = 0; g < size.count; ++g) {
          const std::int64_t n0 = g * size.outputs;
          const WindowRows rows(w, codes, g * size.channels, size.channels, 0, &images);
          const FloatSink sink(*weights[g], scale.data() + n0, part_of(bias, n0), bounds,
                               {tensors.out.of<float>(arena) + n0, n});
          run_gemm(w.outputs(), *weights[g], rows, sink);
        }
      },
      nbytes);
}

std::unique_ptr<const GraphStep> conv_f32(const WindowTensors& tensors,
                                          const ConvWeight<float>& weight, const float* bias,
                                          const Bounds& bounds) {
  const Windows& w = tensors.windows;
  const GroupSizes size(w, weight.n, weight.groups);
  const std::int64_t k = checked_mul(w.kernel_h, w.kernel_w, size.channels);
  std::vector<std::unique_ptr<const LinearF32>> layers;
  std::size_t nbytes = 0;
  for (std::int64_t g = 0; g < size.count; ++g) {
    const std::int64_t n0 = g * size.outputs;
    auto panels = std::make_shared<const PanelsF32>(weight.values + n0 * k, size.outputs, k);
    layers.push_back(std::make_unique<const LinearF32>(std::move(panels),
                                                       bias == nullptr ? nullptr : bias + n0,
                                                       bounds.activation(), nullptr, bounds.high));
    nbytes += layers.back()->nbytes();
  }
  return make_step(
      [=, n = weight.n, layers = std::move(layers)](std::uint8_t* arena) {
        for (std::int64_t g = 0; g < size.count; ++g) {
          const Windows& windows = tensors.windows;
          const FloatWindowRows x(windows, tensors.x.of<float>(arena), g * size.channels,
                                  size.channels);
          run_f32(*layers[g], windows, x, bounds.behind_activation(),
                  {tensors.out.of<float>(arena) + g * size.outputs, n});
        }
      },
      nbytes);
}

}  // namespace octavo
