// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include "dispatch/registry.h"
#include "ops/linear.h"

namespace octavo {

constexpr std::int64_t kKeysPerBlock = 512;

// The right operand of a product, as kernels/gemm_s8/kernel.h wants it.
struct CodePanels {
  const std::int8_t* codes;
  std::int64_t panel_stride;  // bytes
  std::int64_t k_groups;
};

// The kept keys and values of one head as codes, in the layouts of the two products of attention,
// in memory of somebody else:
//   keys    panels of 16 keys; groups of 4 of the head's values
//   values  panels of 16 of the head's values; groups of 4 keys; padded with zeros to 16 keys
class PackedHead {
 public:
  static std::int64_t bytes(std::int64_t keys, std::int64_t d);

  // For at most so many keys; memory has bytes(keys, d), aligned to 64. Products are with kernels
  // of these tiers.
  PackedHead(std::int64_t keys, std::int64_t d, std::uint8_t* memory, IsaMask isas);

  // mask has a byte per key, or is null; a key whose byte is 0 is left out. For products of a form.
  void pack(Rows<const float> k, Rows<const float> v, const std::uint8_t* mask,
            ActivationEncoding form);

  std::int64_t n() const { return n_; }
  std::int64_t d() const { return d_; }
  std::int64_t blocks() const { return ceil_div(n_, kKeysPerBlock); }
  std::int64_t keys_of(std::int64_t block) const {
    return std::min(kKeysPerBlock, n_ - block * kKeysPerBlock);
  }
  // How many keys are kept of the first j.
  std::int64_t place(std::int64_t j) const;
  // The values of a block's keys, of a row with one for each key; zeros up to the next 16.
  void gather(const float* row, std::int64_t block, float* out) const;

  // From key `from` of a block on, a multiple of 16.
  CodePanels keys(std::int64_t block, std::int64_t from) const;
  // So many keys, a multiple of 16; zeros behind the last.
  CodePanels values(std::int64_t block, std::int64_t from, std::int64_t keys) const;
  // Per key, from the block's first. A key or value with a NaN or an infinity has a scale of NaN as
  // a key and of 0 as a value: NaN reaches all that see it.
  const float* key_scale(std::int64_t block) const { return key_scale_ + block * kKeysPerBlock; }
  const float* value_scale(std::int64_t block) const {
    return value_scale_ + block * kKeysPerBlock;
  }
  // 128 times the sum of a key's codes; for products of the form kU8.
  const std::int32_t* key_shift(std::int64_t block) const {
    return key_shift_ + block * kKeysPerBlock;
  }
  // 128 times the sum of codes over a block's keys: a row of d, rounded up to 16, per block. For
  // products of other forms.
  const std::int32_t* value_shift() const { return value_shift_; }

 private:
  void list_kept(const std::uint8_t* mask);
  void quantize_sixteen(Rows<const float> x, std::int64_t j0, float* scale) const;
  void put_keys(std::int64_t j0) const;
  void put_values(std::int64_t j0) const;
  void sum_codes(ActivationEncoding form) const;

  const KernelRow<AttentionCodesArgs>& quantize_;
  const GemmS8Row& product_;  // of one row
  std::int64_t limit_, d_;
  std::int64_t n_ = 0;
  bool listed_ = false;
  std::int64_t* kept_;  // where some keys are left out
  std::int8_t* stage_;  // sixteen rows of codes
  std::int64_t stage_stride_;
  std::uint8_t* zeros_;  // a row whose codes stand for 0
  std::int8_t* keys_;
  std::int64_t key_stride_;
  std::int8_t* values_;
  std::int64_t value_stride_;
  float* key_scale_;
  float* value_scale_;
  std::int32_t* key_shift_;
  std::int32_t* value_shift_;
};

}  // namespace octavo
