// SPDX-License-Identifier: Apache-2.0
#include "ops/window_rows.h"

#include <algorithm>
#include <cstring>

#include "ops/code_rows.h"

namespace octavo {
namespace {

struct Sixteen {
  std::uint64_t low, high;
};

// out = n codes ^ flips; both sides have room for n rounded up to 16.
inline void copy_sixteens(const std::uint8_t* source, std::uint64_t flips, std::int64_t n,
                          std::uint8_t* out) {
  for (std::int64_t i = 0; i < n; i += 16) {
    Sixteen codes;
    std::memcpy(&codes, source + i, sizeof codes);
    codes.low ^= flips;
    codes.high ^= flips;
    std::memcpy(out + i, &codes, sizeof codes);
  }
}

}  // namespace

void WindowRows::gather(std::int64_t m0, std::int64_t rows, std::uint8_t flip, std::uint8_t* out,
                        std::int64_t stride) const {
  const std::uint64_t flips = flip * 0x0101010101010101u;
  int padding = 0;
  std::uint8_t *next = out, *end = out;
  visit_outputs(
      w_, m0, rows, first_, count_,
      [&](std::int64_t r, std::int64_t image) {
        const std::int32_t zero = images_ == nullptr ? zero_point_ : images_->zero_point[image];
        padding = static_cast<std::uint8_t>(zero) ^ flip;
        next = out + r * stride;
        end = next + stride;
      },
      [&](std::int64_t at, std::int64_t n) {
        const std::int64_t sixteens = (n + 15) & ~std::int64_t{15};
        if (sixteens <= end - next && at + sixteens <= x_bytes_) {
          copy_sixteens(x_ + at, flips, n, next);
        } else {
          copy_code_run(x_ + at, flip, n, next);
        }
        next += n;
      },
      [&](std::int64_t n) {
        std::memset(next, padding, static_cast<std::size_t>(n));
        next += n;
      });
}

void WindowRows::fill(std::int64_t m0, std::int64_t rows, const CodeBlock& block) const {
  if (w_.one_to_one()) {
    copy_codes(x_ + m0 * w_.channels + first_, w_.channels, 1, 0, rows, count_, block);
  } else {
    gather(m0, rows, block.form == ActivationEncoding::kU8 ? 0x80 : 0, block.codes, block.stride);
    for (std::int64_t r = 0; r < rows; ++r) {
      finish_code_row(block, block.codes + r * block.stride, k());
    }
  }
  if (images_ == nullptr) return;
  const std::int32_t shift = block.form == ActivationEncoding::kU8 ? 128 : 0;
  OutputPlace place(w_, m0);
  for (std::int64_t r = 0; r < rows; ++r, place += 1) {
    block.row_scale[r] = images_->scale[place.image];
    block.zero_point[r] = images_->zero_point[place.image] + shift;
  }
}

}  // namespace octavo
