// SPDX-License-Identifier: Apache-2.0
// What outputs read of an int8 image, as rows of codes.
#pragma once
#include <cstdint>

#include "ops/gemm_driver.h"
#include "ops/windows.h"

namespace octavo {

// Where images were quantized: what of each its rows have.
struct ImageCodes {
  const float* scale;
  const std::int32_t* zero_point;
};

// Of channels [first, first + count). Padding is the zero point, of all images or each.
class WindowRows final : public RowSource {
 public:
  WindowRows(const Windows& windows, const std::int8_t* x, std::int64_t first, std::int64_t count,
             std::int32_t zero_point, const ImageCodes* images = nullptr)
      : w_(windows),
        x_(reinterpret_cast<const std::uint8_t*>(x)),
        x_bytes_(windows.batch * windows.height * windows.width * windows.channels),
        first_(first),
        count_(count),
        zero_point_(zero_point),
        images_(images) {}

  std::int64_t k() const { return w_.kernel_h * w_.kernel_w * count_; }

  void fill(std::int64_t m0, std::int64_t rows, const CodeBlock& block) const override;

  // Rows [m0, m0 + rows) of codes ^ flip, each at the beginning of `stride` bytes, of which it may
  // write all.
  void gather(std::int64_t m0, std::int64_t rows, std::uint8_t flip, std::uint8_t* out,
              std::int64_t stride) const;

  // Rows of signed codes that lie in the image, step() from one to the next: null where they do
  // not.
  const std::int8_t* in_place() const {
    return w_.one_to_one() ? reinterpret_cast<const std::int8_t*>(x_) + first_ : nullptr;
  }
  std::int64_t step() const { return w_.channels; }

 private:
  const Windows& w_;
  const std::uint8_t* x_;
  std::int64_t x_bytes_;
  std::int64_t first_, count_;
  std::int32_t zero_point_;
  const ImageCodes* images_;
};

}  // namespace octavo
