// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <limits>
#include <memory>

#include "ops/linear.h"
#include "weights/panels_f32.h"

namespace octavo {

// y = activation((x * multiplier) @ w.T + bias + before) + after with a float32 weight; each sum is
// that of kernels/gemm_f32. Immutable and safe to run from many threads.
class LinearF32 final : public LinearLayer {
 public:
  // A weight that other layers may have too. bias: n values or null. multiplier: k values or null.
  // relu_high: of kRelu, what outputs are at most.
  LinearF32(std::shared_ptr<const PanelsF32> weight, const float* bias, Activation activation,
            const float* multiplier, float relu_high = std::numeric_limits<float>::infinity());

  // x: (m, k) float32; out: (m, n) float32.
  void run(std::int64_t m, Rows<const float> x, const Added& added, Rows<void> out) const override;

  std::size_t nbytes() const override {
    return weight_->nbytes() + bias_.size() + multiplier_.size();
  }

  const std::shared_ptr<const PanelsF32>& shared_weight() const { return weight_; }
  std::int64_t n() const override { return weight_->n(); }
  std::int64_t k() const override { return weight_->k(); }
  const float* bias() const { return bias_.as<float>(); }
  const float* multiplier() const { return multiplier_.as<float>(); }
  Activation activation() const { return activation_; }
  float relu_high() const { return relu_high_; }

 private:
  std::shared_ptr<const PanelsF32> weight_;
  AlignedBuffer bias_, multiplier_;  // without memory where there is none
  Activation activation_;
  float relu_high_;
};

}  // namespace octavo
