// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include "layout/packed_bitmap.h"
#include "ops/gemm_driver.h"

namespace octavo {

// m rows times a PackedBitmap: few rows by gemm_bitmap_s8 where the tier has one; else parts of the
// weight are expanded for the gemm_s8 kernel that suits m.
class BitmapProduct final : public GemmProduct {
 public:
  BitmapProduct(std::int64_t m, const PackedBitmap& b);

  void multiply(const CodeBlock& block, std::int64_t rows, std::int64_t p, std::int64_t panels,
                std::int32_t* sums, std::int64_t stride) const override;

 private:
  BitmapProduct(const GemmS8Row& gemm, const GemmBitmapS8Row* fused, const PackedBitmap& b);
  void multiply_part(const CodeBlock& block, std::int64_t rows, std::int64_t p, std::int64_t panels,
                     std::int64_t part, std::int32_t* sums, std::int64_t stride) const;

  const PackedBitmap& b_;
  const GemmS8Row& gemm_;
  const GemmBitmapS8Row* fused_;  // null: expand
  const KernelRow<ExpandS8Args>& expand_;
};

}  // namespace octavo
