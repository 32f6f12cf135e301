// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include "layout/packed_strips.h"
#include "ops/gemm_driver.h"

namespace octavo {

// m rows times a PackedStrips: few rows one by one, else tiles whose codes lie side by side.
class StripProduct final : public GemmProduct {
 public:
  StripProduct(std::int64_t m, const PackedStrips& b);

  void prepare(const CodeBlock& block, std::int64_t rows, std::int64_t begin,
               std::int64_t end) const override;
  void multiply(const CodeBlock& block, std::int64_t rows, std::int64_t p, std::int64_t panels,
                std::int32_t* sums, std::int64_t stride) const override;

 private:
  StripProduct(std::int64_t m, const SpreadStripsS8Row& kernel, const PackedStrips& b);

  const PackedStrips& b_;
  const SpreadStripsS8Row& kernel_;
  const KernelRow<TransposeS8Args>& transpose_;
};

}  // namespace octavo
