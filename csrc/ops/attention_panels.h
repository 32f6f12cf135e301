// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include "ops/attention_rows.h"
#include "ops/linear.h"

namespace octavo {

// Rows of one head in groups of codes, as kernels/attention_codes/kernel.h lays them out.
struct GroupPanels {
  std::int32_t* groups;
  std::int64_t stride;  // groups
};

// The kept keys and values of one head as codes, in memory of somebody else.
class PackedHead final : public CodedHead {
 public:
  static std::int64_t bytes(std::int64_t keys, std::int64_t d, IsaMask isas);

  // For at most so many keys; memory has bytes(keys, d, isas), aligned to 64.
  PackedHead(std::int64_t keys, std::int64_t d, std::uint8_t* memory, IsaMask isas);

  // mask has a byte per key, or is null; a key whose byte is 0 is left out.
  void pack(Rows<const float> k, Rows<const float> v, const std::uint8_t* mask);

  std::int64_t place(std::int64_t j) const override;
  std::int64_t key_at(std::int64_t block, std::int64_t j) const override {
    const std::int64_t i = block * kKeysPerBlock + j;
    return listed_ ? kept_[i] : i;
  }
  void describe(std::int64_t block, AttentionBlockArgs& args) const override;

 private:
  void list_kept(const std::uint8_t* mask);
  void put_codes(AttentionOperand operand, Rows<const float> x, std::int64_t j0) const;

  const KernelRow<AttentionCodesArgs>& quantize_;
  std::int64_t limit_;
  bool listed_ = false;
  std::int64_t* kept_;      // where some keys are left out
  std::int64_t* row_list_;  // where a block's kept rows begin
  GroupPanels keys_, values_;
  float* key_scale_;
  float* value_scale_;
  std::int32_t* key_start_;
};

}  // namespace octavo
