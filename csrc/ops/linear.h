// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <memory>
#include <optional>

#include "kernels/epilogue/kernel.h"
#include "memory/aligned_buffer.h"
#include "weights/formats.h"

namespace octavo {

// How a Linear reads its input and writes its output.
struct LinearOptions {
  Activation activation = Activation::kNone;
  bool symmetric = false;            // dynamic input codes without a zero point
  std::optional<float> input_scale;  // static input codes
  std::int32_t input_zero_point = 0;
  std::optional<float> output_scale;  // int8 output
  std::int32_t output_zero_point = 0;
};

// A rectangle with unit stride along rows.
template <class T>
struct Rows {
  T* data = nullptr;
  std::int64_t stride = 0;  // elements
};

// What is added to a product: `before` the activation, `after` it; either may have no data.
struct Added {
  Rows<const float> before;
  Rows<const float> after;
};

// The parameters of a layer, its own; no memory for null.
AlignedBuffer copy_floats(const float* values, std::int64_t n);

// A layer that makes each row of n outputs of a row of k inputs and what is added to it.
class LinearLayer {
 public:
  virtual ~LinearLayer() = default;
  virtual std::int64_t n() const = 0;
  virtual std::int64_t k() const = 0;
  virtual std::size_t nbytes() const = 0;
  // x: (m, k) float32; out: (m, n) float32 unless the layer says otherwise.
  virtual void run(std::int64_t m, Rows<const float> x, const Added& added,
                   Rows<void> out) const = 0;
};

// y = activation(x @ w.T + bias + before) + after with int8 weights, one scale per output.
// Immutable and safe to run from many threads.
class Linear final : public LinearLayer {
 public:
  // codes: (n, k) row-major; k at most the format's. scale: n values. bias: n
  // values or null. multiplier: k values by which x is multiplied first, or null.
  Linear(const std::int8_t* codes, std::int64_t n, std::int64_t k, const float* scale,
         const float* bias, const LinearOptions& options,
         const WeightFormat& format = weight_formats().front(), const float* multiplier = nullptr);

  // A weight that other layers may have too. scale: null, and only then, where its inputs come in
  // groups: rows are then quantized symmetrically, when they come. Throws std::invalid_argument for
  // another scale, and for static input in groups.
  Linear(std::shared_ptr<const Weight> weight, const char* format, const float* scale,
         const float* bias, const LinearOptions& options, const float* multiplier = nullptr);

  // x: (m, k) float32; out: (m, n) float32, or int8 with output_scale.
  void run(std::int64_t m, Rows<const float> x, const Added& added, Rows<void> out) const override;

  // The same from codes that are already there, with a scale and a zero point per row; what they
  // stand for has been multiplied already. Throws std::invalid_argument where inputs come in
  // groups.
  void run_codes(std::int64_t m, Rows<const std::int8_t> codes, const float* row_scale,
                 const std::int32_t* zero_point, const Added& added, Rows<void> out) const;

  // Whether the other layer makes the same codes of the same rows.
  bool reads_like(const Linear& other) const;

  const Weight& weight() const { return *weight_; }
  const std::shared_ptr<const Weight>& shared_weight() const { return weight_; }
  std::int64_t n() const override { return weight_->n(); }
  std::int64_t k() const override { return weight_->k(); }
  const char* format() const { return format_; }
  // The scale of each output; null where the weight scales its sums.
  const float* scale() const { return weight_->group() == 0 ? scale_.as<float>() : nullptr; }
  const float* bias() const { return has_bias_ ? bias_.as<float>() : nullptr; }
  const float* multiplier() const {
    return multiplier_.size() == 0 ? nullptr : multiplier_.as<float>();
  }
  const LinearOptions& options() const { return options_; }
  std::size_t nbytes() const override;

 private:
  const char* format_;
  std::shared_ptr<const Weight> weight_;
  AlignedBuffer scale_;
  AlignedBuffer bias_;
  AlignedBuffer multiplier_;
  bool has_bias_;
  LinearOptions options_;
};

// A layer's part in run_linears().
struct LinearCall {
  const Linear* layer;
  Added added;
  Rows<void> out;
};
constexpr std::int64_t kMostLinears = 4;

// Layers that read like the first one, on the same rows, which are quantized once; at most
// kMostLinears. The bits are those of Linear::run().
void run_linears(std::int64_t m, Rows<const float> x, const LinearCall* calls, std::int64_t count);

}  // namespace octavo
