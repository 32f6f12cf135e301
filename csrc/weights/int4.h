// SPDX-License-Identifier: Apache-2.0
// A weight of 4-bit codes with a scale for each group of inputs: the operand of gemm_s4, whose
// kernel.h draws the codes. One layout serves all tiers.
//
//   | codes: 8 bytes per input and panel | scales: 64 bytes per group and panel |
//
// k is padded with zeros to groups, n to panels of 16. Bytes per weight: 0.5, and 4 per group.
#pragma once
#include <cstdint>

#include "kernels/gemm_s4/kernel.h"
#include "weights/weight.h"

namespace octavo {

class Int4Weight final : public Weight {
 public:
  static bool is_group(std::int64_t size) { return size == 32 || size == 64 || size == 128; }

  // codes: (n, k) row-major in [-8, 7]; scale: (n, groups of k) row-major.
  Int4Weight(const std::int8_t* codes, const float* scale, std::int64_t n, std::int64_t k,
             std::int64_t group);
  Int4Weight(AlignedBuffer packed, std::int64_t n, std::int64_t k, std::int64_t group);

  std::int64_t group() const override { return group_; }
  std::int64_t groups() const { return ceil_div(k(), group_); }
  // Sums need no correction: rows have no zero points.
  const std::int32_t* col_sum() const override { return nullptr; }
  void unpack(std::int8_t* out) const override;
  void unpack_scales(float* out) const;

  Schedule schedule(std::int64_t m, IsaMask mask) const override;
  // The sums of each group's codes.
  void prepare(const Schedule& schedule, const CodeBlock& block, std::int64_t rows,
               std::int64_t begin, std::int64_t end) const override;
  // Writes float32.
  void multiply(const Schedule& schedule, const CodeBlock& block, std::int64_t rows, std::int64_t p,
                std::int64_t panels, std::int32_t* sums, std::int64_t stride) const override;

 private:
  std::int64_t panel_bytes() const { return 8 * round_up(k(), group_); }
  std::int64_t panel_scales() const { return kPanelWidth * groups(); }
  std::int64_t code_bytes() const { return checked_mul(panels(), panel_bytes()); }
  std::int64_t end() const {
    return checked_add(code_bytes(), checked_mul(4, panels(), panel_scales()));
  }

  std::int64_t group_;
};

}  // namespace octavo
