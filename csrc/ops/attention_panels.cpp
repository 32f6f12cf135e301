// SPDX-License-Identifier: Apache-2.0
#include "ops/attention_panels.h"

#include <algorithm>
#include <cmath>

#include "ops/attention.h"
#include "ops/scratch.h"
#include "threads/interrupt.h"

namespace octavo {
namespace {

constexpr std::int64_t kLanes = 16;

// Where the parts of a PackedHead lie.
struct Layout {
  std::int64_t key_stride, value_stride;
  std::int64_t kept, row_list, keys, values, key_scale, value_scale, key_start, end;

  Layout(std::int64_t n, std::int64_t d, std::int64_t group_codes) {
    const std::int64_t n_pad = round_up(n, kLanes), d_pad = round_up(d, kLanes);
    key_stride = d_pad / group_codes * kLanes;
    value_stride = checked_mul(n_pad / group_codes, kLanes);
    ScratchLayout parts;
    kept = parts.add(n, sizeof(std::int64_t));
    row_list = parts.add(std::min(n, kKeysPerBlock), sizeof(std::int64_t));
    keys = parts.add(checked_mul(n_pad / kLanes, key_stride), sizeof(std::int32_t));
    values = parts.add(checked_mul(d_pad / kLanes, value_stride), sizeof(std::int32_t));
    key_scale = parts.add(n_pad, sizeof(float));
    value_scale = parts.add(n_pad, sizeof(float));
    key_start = parts.add(n_pad, sizeof(std::int32_t));
    end = parts.bytes();
  }
};

}  // namespace

std::int64_t PackedHead::bytes(std::int64_t keys, std::int64_t d, IsaMask isas) {
  return Layout(keys, d, select<AttentionCodesArgs>(isas).group_codes).end;
}

PackedHead::PackedHead(std::int64_t keys, std::int64_t d, std::uint8_t* memory, IsaMask isas)
    : CodedHead(0, d), quantize_(select<AttentionCodesArgs>(isas)), limit_(keys) {
  const Layout layout(keys, d, quantize_.group_codes);
  kept_ = reinterpret_cast<std::int64_t*>(memory + layout.kept);
  row_list_ = reinterpret_cast<std::int64_t*>(memory + layout.row_list);
  keys_ = {reinterpret_cast<std::int32_t*>(memory + layout.keys), layout.key_stride};
  values_ = {reinterpret_cast<std::int32_t*>(memory + layout.values), layout.value_stride};
  key_scale_ = reinterpret_cast<float*>(memory + layout.key_scale);
  value_scale_ = reinterpret_cast<float*>(memory + layout.value_scale);
  key_start_ = reinterpret_cast<std::int32_t*>(memory + layout.key_start);
}

void PackedHead::list_kept(const std::uint8_t* mask) {
  listed_ = mask != nullptr;
  n_ = listed_ ? list_keys(mask, limit_, kept_) : limit_;
}

std::int64_t PackedHead::place(std::int64_t j) const {
  if (!listed_) return std::clamp<std::int64_t>(j, 0, n_);
  return std::lower_bound(kept_, kept_ + n_, j) - kept_;
}

void PackedHead::pack(Rows<const float> k, Rows<const float> v, const std::uint8_t* mask) {
  list_kept(mask);
  for (std::int64_t j0 = 0; j0 < n_ && !interrupted(); j0 += kKeysPerBlock) {
    put_codes(AttentionOperand::kKeys, k, j0);
    put_codes(AttentionOperand::kValues, v, j0);
    for (std::int64_t j = j0; j < std::min(n_, j0 + kKeysPerBlock); ++j) {
      if (!std::isnan(value_scale_[j])) continue;
      key_scale_[j] = value_scale_[j];
      value_scale_[j] = 0.0f;
    }
  }
}

// The codes of a block's rows.
void PackedHead::put_codes(AttentionOperand operand, Rows<const float> x, std::int64_t j0) const {
  const bool of_keys = operand == AttentionOperand::kKeys;
  const std::int64_t rows = std::min(kKeysPerBlock, n_ - j0);
  const GroupPanels& panels = of_keys ? keys_ : values_;
  for (std::int64_t r = 0; listed_ && r < rows; ++r) row_list_[r] = kept_[j0 + r] * x.stride;
  AttentionCodesArgs args;
  args.x = x.data + (listed_ ? 0 : j0 * x.stride);
  args.x_stride = x.stride;
  args.row_list = listed_ ? row_list_ : nullptr;
  args.m = static_cast<std::int32_t>(rows);
  args.d = static_cast<std::int32_t>(d_);
  args.operand = operand;
  args.groups =
      panels.groups + (of_keys ? j0 / kLanes * panels.stride : j0 / quantize_.group_codes * kLanes);
  args.panel_stride = panels.stride;
  args.scale = (of_keys ? key_scale_ : value_scale_) + j0;
  args.start = key_start_ + j0;
  quantize_.run(args);
}

void PackedHead::describe(std::int64_t block, AttentionBlockArgs& args) const {
  const std::int64_t j0 = block * kKeysPerBlock;
  args.n = static_cast<std::int32_t>(keys_of(block));
  args.d = static_cast<std::int32_t>(d_);
  args.keys = keys_.groups + j0 / kLanes * keys_.stride;
  args.key_stride = keys_.stride;
  args.values = values_.groups + j0 / quantize_.group_codes * kLanes;
  args.value_stride = values_.stride;
  args.key_start = key_start_ + j0;
  args.key_scale = key_scale_ + j0;
  args.value_scale = value_scale_ + j0;
}

}  // namespace octavo
