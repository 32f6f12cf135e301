// SPDX-License-Identifier: Apache-2.0
// An immutable int8 filter for each channel, the same bytes for every tier; the layout of a block
// of sixteen channels is drawn in kernels/depthwise_s8/kernel.h.
//
//   | block 0 | block 1 | ... | weight_sum: channels |
#pragma once
#include <cstdint>

#include "kernels/depthwise_s8/kernel.h"
#include "memory/aligned_buffer.h"
#include "memory/sizes.h"

namespace octavo {

class DepthwiseWeight {
 public:
  // codes: (kernel_h, kernel_w, channels). Sizes are positive.
  DepthwiseWeight(const std::int8_t* codes, std::int64_t kernel_h, std::int64_t kernel_w,
                  std::int64_t channels, std::int64_t stride_h, std::int64_t dilation_h);

  // Output rows of a call of the kernel, and input rows that these read: for the strip whose first
  // row is `oy`, row i of its window is input row oy * stride_h + i * dilation_h - top, where there
  // is one. Two output rows share a window where it holds them in as many fours of rows as one.
  std::int64_t strip_rows() const { return strip_rows_; }
  std::int64_t window_rows() const { return window_rows_; }
  // One int32 (modulo 2^32) per channel.
  const std::int32_t* weight_sum() const {
    return reinterpret_cast<const std::int32_t*>(packed_.as<std::uint8_t>() + code_bytes());
  }
  // What of a kernel's arguments is the weight's.
  void describe(DepthwiseS8Args& args) const;

  std::int64_t channels() const { return channels_; }
  std::size_t nbytes() const { return packed_.size(); }

 private:
  static constexpr std::int64_t kChannels = 16, kUnitRows = 4, kUnitBytes = 64;

  std::int64_t blocks() const { return ceil_div(channels_, kChannels); }
  std::int64_t row_bytes() const {
    return checked_mul(kernel_w_, ceil_div(window_rows_, kUnitRows), kUnitBytes);
  }
  std::int64_t block_bytes() const { return checked_mul(strip_rows_, row_bytes()); }
  std::int64_t code_bytes() const { return checked_mul(blocks(), block_bytes()); }

  std::int64_t kernel_h_, kernel_w_, channels_, stride_h_;
  std::int64_t strip_rows_, window_rows_;
  AlignedBuffer packed_;
};

}  // namespace octavo
