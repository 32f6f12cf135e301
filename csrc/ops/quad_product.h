// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include "layout/packed_quads.h"
#include "ops/gemm_driver.h"

namespace octavo {

// m rows times a PackedQuads: tiles of rows, and spread_quads_s8.
class QuadProduct final : public GemmProduct {
 public:
  explicit QuadProduct(const PackedQuads& b);

  void prepare(const CodeBlock& block, std::int64_t rows, std::int64_t begin,
               std::int64_t end) const override;
  void multiply(const CodeBlock& block, std::int64_t rows, std::int64_t p, std::int64_t panels,
                std::int32_t* sums, std::int64_t stride) const override;

 private:
  QuadProduct(const SpreadQuadsS8Row& kernel, const PackedQuads& b);

  const PackedQuads& b_;
  const SpreadQuadsS8Row& kernel_;
  const KernelRow<TransposeF32Args>& transpose_;
};

}  // namespace octavo
