// SPDX-License-Identifier: Apache-2.0
#include "ops/attention_panels.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "ops/attention.h"
#include "ops/scratch.h"
#include "threads/interrupt.h"
#include "weights/interleave.h"

namespace octavo {
namespace {

constexpr std::int64_t kPanel = Weight::kPanelWidth;
constexpr std::int64_t kGroup = Weight::kGroup;
// Kernels may read so far behind a panel's last group.
constexpr std::int64_t kSlack = 1024;

// Codes of a row, of d values or of a block of keys.
std::int64_t zero_bytes(std::int64_t d) { return std::max(round_up(d, 64), kKeysPerBlock); }

// Where the parts of a PackedHead lie.
struct Layout {
  std::int64_t n_pad, d_pad, blocks, stage_stride, key_stride, value_stride;
  std::int64_t kept, stage, zeros, keys, values, key_scale, value_scale, key_shift, value_shift,
      end;

  Layout(std::int64_t n, std::int64_t d) {
    n_pad = round_up(n, kPanel);
    d_pad = round_up(d, kPanel);
    blocks = ceil_div(n, kKeysPerBlock);
    stage_stride = round_up(d, 64);
    key_stride = ceil_div(d, kGroup) * 64;
    value_stride = checked_mul(n_pad / kGroup, 64);
    ScratchLayout parts;
    kept = parts.add(n, sizeof(std::int64_t));
    stage = parts.add(kPanel, stage_stride);
    zeros = parts.add(2, zero_bytes(d));
    keys = parts.add(n_pad / kPanel, key_stride);
    parts.add(kSlack, 1);
    values = parts.add(d_pad / kPanel, value_stride);
    parts.add(kSlack, 1);
    key_scale = parts.add(n_pad, sizeof(float));
    value_scale = parts.add(n_pad, sizeof(float));
    key_shift = parts.add(n_pad, sizeof(std::int32_t));
    value_shift = parts.add(checked_mul(blocks, d_pad), sizeof(std::int32_t));
    end = parts.bytes();
  }
};

}  // namespace

std::int64_t PackedHead::bytes(std::int64_t keys, std::int64_t d) { return Layout(keys, d).end; }

PackedHead::PackedHead(std::int64_t keys, std::int64_t d, std::uint8_t* memory, IsaMask isas)
    : quantize_(select<AttentionCodesArgs>(isas)),
      product_(select<GemmS8Args>(isas, 1)),
      limit_(keys),
      d_(d) {
  const Layout layout(keys, d);
  kept_ = reinterpret_cast<std::int64_t*>(memory + layout.kept);
  stage_ = reinterpret_cast<std::int8_t*>(memory + layout.stage);
  stage_stride_ = layout.stage_stride;
  zeros_ = memory + layout.zeros;
  keys_ = reinterpret_cast<std::int8_t*>(memory + layout.keys);
  key_stride_ = layout.key_stride;
  values_ = reinterpret_cast<std::int8_t*>(memory + layout.values);
  value_stride_ = layout.value_stride;
  key_scale_ = reinterpret_cast<float*>(memory + layout.key_scale);
  value_scale_ = reinterpret_cast<float*>(memory + layout.value_scale);
  key_shift_ = reinterpret_cast<std::int32_t*>(memory + layout.key_shift);
  value_shift_ = reinterpret_cast<std::int32_t*>(memory + layout.value_shift);
}

void PackedHead::list_kept(const std::uint8_t* mask) {
  listed_ = mask != nullptr;
  n_ = listed_ ? list_keys(mask, limit_, kept_) : limit_;
}

std::int64_t PackedHead::place(std::int64_t j) const {
  if (!listed_) return std::clamp<std::int64_t>(j, 0, n_);
  return std::lower_bound(kept_, kept_ + n_, j) - kept_;
}

void PackedHead::pack(Rows<const float> k, Rows<const float> v, const std::uint8_t* mask,
                      ActivationEncoding form) {
  list_kept(mask);
  std::memset(stage_, 0, static_cast<std::size_t>(kPanel * stage_stride_));
  for (std::int64_t j = 0; j < n_; j += kPanel) {
    if (j % kKeysPerBlock == 0 && interrupted()) return;
    quantize_sixteen(k, j, key_scale_ + j);
    put_keys(j);
    quantize_sixteen(v, j, value_scale_ + j);
    put_values(j);
    for (std::int64_t i = j; i < j + kPanel; ++i) {
      if (!std::isnan(value_scale_[i])) continue;
      key_scale_[i] = value_scale_[i];
      value_scale_[i] = 0.0f;
    }
  }
  sum_codes(form);
}

// Kept rows [j0, j0 + 16) to the stage; what is missing of them is zeros, with scales of 0.
void PackedHead::quantize_sixteen(Rows<const float> x, std::int64_t j0, float* scale) const {
  const std::int64_t rows = std::min(kPanel, n_ - j0);
  const std::int64_t first = listed_ ? kept_[j0] : j0;
  const bool together = !listed_ || kept_[j0 + rows - 1] - first == rows - 1;
  AttentionCodesArgs args;
  args.x_stride = x.stride;
  args.m = static_cast<std::int32_t>(together ? rows : 1);
  args.d = static_cast<std::int32_t>(d_);
  args.form = ActivationEncoding::kS8;
  args.codes_stride = stage_stride_;
  args.abs_offset = 0;
  for (std::int64_t r = 0; r < rows; r += args.m) {
    args.x = x.data + (together ? first : kept_[j0 + r]) * x.stride;
    args.codes = reinterpret_cast<std::uint8_t*>(stage_ + r * stage_stride_);
    args.scale = scale + r;
    quantize_.run(args);
  }
  std::fill(scale + rows, scale + kPanel, 0.0f);
  std::memset(stage_ + rows * stage_stride_, 0,
              static_cast<std::size_t>((kPanel - rows) * stage_stride_));
}

void PackedHead::put_keys(std::int64_t j0) const {
  std::int8_t* panel = keys_ + j0 / kPanel * key_stride_;
  for (std::int64_t g = 0; g < ceil_div(d_, kGroup); ++g) {
    for (std::int64_t j = 0; j < kPanel; ++j) {
      std::memcpy(panel + 64 * g + kGroup * j, stage_ + j * stage_stride_ + kGroup * g, kGroup);
    }
  }
}

void PackedHead::put_values(std::int64_t j0) const {
  for (std::int64_t e = 0; e < d_; e += kPanel) {
    std::int8_t* panel = values_ + e / kPanel * value_stride_ + j0 / kGroup * 64;
    for (std::int64_t g = 0; g < kPanel / kGroup; ++g) {
      const std::int8_t* rows = stage_ + kGroup * g * stage_stride_ + e;
      std::uint32_t groups[kPanel];
      interleave(reinterpret_cast<const std::uint8_t*>(rows), stage_stride_, groups);
      std::memcpy(panel + 64 * g, groups, sizeof groups);
    }
  }
}

// What a product adds that reads codes for 0 as 128 (kU8: of queries), or weights of 0 as -128.
void PackedHead::sum_codes(ActivationEncoding form) const {
  const bool of_keys = form == ActivationEncoding::kU8;
  const bool has_signs = form == ActivationEncoding::kSignAbs;
  const std::int64_t d_pad = round_up(d_, kPanel);
  GemmS8Args args;
  args.a = zeros_;
  args.a_stride = 0;
  args.a_abs_offset = zero_bytes(d_);
  args.c_stride = 0;
  args.m = 1;
  args.accumulate = false;
  for (std::int64_t b = 0; b < blocks(); ++b) {
    const std::int64_t keys = round_up(keys_of(b), kPanel);
    const auto codes = static_cast<std::size_t>(of_keys ? d_ : keys);
    std::memset(zeros_, 0, static_cast<std::size_t>(2 * args.a_abs_offset));
    std::memset(zeros_, has_signs ? 255 : 128, codes);
    if (has_signs) std::memset(zeros_ + args.a_abs_offset, 128, codes);
    const CodePanels panels = of_keys ? this->keys(b, 0) : values(b, 0, keys);
    std::int32_t* sums = of_keys ? key_shift_ + b * kKeysPerBlock : value_shift_ + b * d_pad;
    args.b = panels.codes;
    args.b_panel_stride = panels.panel_stride;
    args.k_groups = static_cast<std::int32_t>(panels.k_groups);
    args.panels = static_cast<std::int32_t>((of_keys ? keys : d_pad) / kPanel);
    args.c = sums;
    product_.run(args);
    if (of_keys) continue;
    for (std::int64_t e = 0; e < d_pad; ++e) sums[e] = -sums[e];
  }
}

void PackedHead::gather(const float* row, std::int64_t block, float* out) const {
  const std::int64_t begin = block * kKeysPerBlock, keys = keys_of(block);
  for (std::int64_t j = 0; j < keys; ++j) out[j] = row[listed_ ? kept_[begin + j] : begin + j];
  std::fill(out + keys, out + round_up(keys, kPanel), 0.0f);
}

CodePanels PackedHead::keys(std::int64_t block, std::int64_t from) const {
  return {keys_ + (block * kKeysPerBlock + from) / kPanel * key_stride_, key_stride_,
          ceil_div(d_, kGroup)};
}

CodePanels PackedHead::values(std::int64_t block, std::int64_t from, std::int64_t keys) const {
  return {values_ + (block * kKeysPerBlock + from) / kGroup * 64, value_stride_, keys / kGroup};
}

}  // namespace octavo
