// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include "layout/packed_b.h"
#include "ops/gemm_driver.h"

namespace octavo {

// m rows times a PackedB, by the gemm_s8 kernel that suits m; k goes in parts.
class DenseProduct final : public GemmProduct {
 public:
  DenseProduct(std::int64_t m, const PackedB& b);

  void multiply(const CodeBlock& block, std::int64_t rows, std::int64_t p, std::int64_t panels,
                std::int32_t* sums, std::int64_t stride) const override;

 private:
  DenseProduct(const GemmS8Row& kernel, std::int64_t k_chunk, const PackedB& b);

  const PackedB& b_;
  const GemmS8Row& kernel_;
  std::int64_t k_chunk_;
};

}  // namespace octavo
