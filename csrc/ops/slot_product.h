// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include "layout/packed_slots.h"
#include "ops/gemm_driver.h"

namespace octavo {

// m rows times a PackedSlots: gather_s8 for narrow slots and for few rows; else tiles of 32 rows
// and spread_s8.
class SlotProduct final : public GemmProduct {
 public:
  SlotProduct(std::int64_t m, const PackedSlots& b);

  void prepare(const CodeBlock& block, std::int64_t rows, std::int64_t begin,
               std::int64_t end) const override;
  void multiply(const CodeBlock& block, std::int64_t rows, std::int64_t p, std::int64_t panels,
                std::int32_t* sums, std::int64_t stride) const override;

 private:
  using Kernels = KernelPair<GatherS8Args, SpreadS8Args>;

  SlotProduct(std::int64_t m, const Kernels& kernels, const PackedSlots& b);
  bool spreads(std::int64_t rows) const;

  const PackedSlots& b_;
  const GatherS8Row& gather_;
  const SpreadS8Row& spread_;
  const KernelRow<TransposeS8Args>& transpose_;
};

}  // namespace octavo
