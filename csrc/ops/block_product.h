// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include "layout/packed_blocks.h"
#include "ops/gemm_driver.h"

namespace octavo {

// m rows times a PackedBlocks, by the gemm_blocks_s8 kernel that suits m and how blocks lie.
class BlockProduct final : public GemmProduct {
 public:
  BlockProduct(std::int64_t m, const PackedBlocks& b);

  void multiply(const CodeBlock& block, std::int64_t rows, std::int64_t p, std::int64_t panels,
                std::int32_t* sums, std::int64_t stride) const override;

 private:
  BlockProduct(const GemmBlocksS8Row& kernel, const PackedBlocks& b);

  const PackedBlocks& b_;
  const GemmBlocksS8Row& kernel_;
};

}  // namespace octavo
