// SPDX-License-Identifier: Apache-2.0
#include "weights/depthwise.h"

#include <algorithm>
#include <cstring>

#include "threads/interrupt.h"

namespace octavo {

DepthwiseWeight::DepthwiseWeight(const std::int8_t* codes, std::int64_t kernel_h,
                                 std::int64_t kernel_w, std::int64_t channels,
                                 std::int64_t stride_h, std::int64_t dilation_h)
    : kernel_h_(kernel_h), kernel_w_(kernel_w), channels_(channels), stride_h_(stride_h) {
  const std::int64_t two_rows = checked_add(kernel_h, stride_h);
  const bool shares =
      dilation_h == 1 && ceil_div(two_rows, kUnitRows) == ceil_div(kernel_h, kUnitRows);
  strip_rows_ = shares ? 2 : 1;
  window_rows_ = shares ? two_rows : kernel_h;

  const std::int64_t bytes = checked_add(code_bytes(), checked_mul(channels, sizeof(std::int32_t)));
  packed_ = AlignedBuffer(static_cast<std::size_t>(bytes));
  std::memset(packed_.as<void>(), 0, packed_.size());
  auto* weight_sum = const_cast<std::int32_t*>(this->weight_sum());
  for (std::int64_t b = 0; b < blocks(); ++b) {
    interruption_point();
    const std::int64_t first =
        std::max<std::int64_t>(0, std::min(b * kChannels, channels - kChannels));
    const std::int64_t live = std::min(kChannels, channels - first);
    std::fill_n(weight_sum + first, live, 0);
    for (std::int64_t i = 0; i < kernel_h; ++i) {
      for (std::int64_t j = 0; j < kernel_w; ++j) {
        const std::int8_t* from = codes + (i * kernel_w + j) * channels + first;
        for (std::int64_t l = 0; l < live; ++l) {
          weight_sum[first + l] = wrapping_add(weight_sum[first + l], from[l]);
          for (std::int64_t r = 0; r < strip_rows_; ++r) {
            const std::int64_t row = i + r * stride_h;
            const std::int64_t unit = j * ceil_div(window_rows_, kUnitRows) + row / kUnitRows;
            const std::int64_t at = b * block_bytes() + r * row_bytes() + unit * kUnitBytes;
            packed_.as<std::int8_t>()[at + 4 * l + row % kUnitRows] = from[l];
          }
        }
      }
    }
  }
}

void DepthwiseWeight::describe(DepthwiseS8Args& args) const {
  args.window_rows = static_cast<std::int32_t>(window_rows_);
  args.channels = channels_;
  args.weights = packed_.as<std::int8_t>();
  args.row_bytes = row_bytes();
  args.block_bytes = block_bytes();
  args.kernel_w = static_cast<std::int32_t>(kernel_w_);
  args.weight_sum = weight_sum();
}

}  // namespace octavo
