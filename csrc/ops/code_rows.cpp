// SPDX-License-Identifier: Apache-2.0
#include "ops/code_rows.h"

#include <cstring>

namespace octavo {
namespace {

// Splits signed codes, in place, into their signs (255 or 0) and their absolute values.
void split_signs(std::uint8_t* codes, std::int64_t k, std::uint8_t* magnitudes) {
  for (std::int64_t i = 0; i < k; ++i) {
    const int code = static_cast<std::int8_t>(codes[i]);
    codes[i] = code < 0 ? 255 : 0;
    magnitudes[i] = static_cast<std::uint8_t>(code < 0 ? -code : code);
  }
}

void swap_eights(std::uint8_t* a, std::uint8_t* b) {
  std::uint64_t of_a, of_b;
  std::memcpy(&of_a, a, 8);
  std::memcpy(&of_b, b, 8);
  std::memcpy(a, &of_b, 8);
  std::memcpy(b, &of_a, 8);
}

}  // namespace

void copy_code_run(const std::uint8_t* source, std::uint8_t flip, std::int64_t n,
                   std::uint8_t* out) {
  const std::uint64_t flips = flip * 0x0101010101010101u;
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    std::uint64_t eight;
    std::memcpy(&eight, source + i, 8);
    eight ^= flips;
    std::memcpy(out + i, &eight, 8);
  }
  for (; i < n; ++i) out[i] = source[i] ^ flip;
}

void finish_code_row(const CodeBlock& block, std::uint8_t* row, std::int64_t k) {
  const auto padding = static_cast<std::size_t>(padded_k(k) - k);
  std::memset(row + k, 0, padding);
  if (block.form != ActivationEncoding::kSignAbs) return;
  split_signs(row, k, row + block.abs_offset);
  std::memset(row + block.abs_offset + k, 0, padding);
}

void copy_codes(const std::uint8_t* source, std::int64_t row_stride, std::int64_t column_stride,
                std::uint8_t flip, std::int64_t rows, std::int64_t k, const CodeBlock& block) {
  if (block.form == ActivationEncoding::kU8) flip ^= 0x80;
  for (std::int64_t r = 0; r < rows; ++r) {
    std::uint8_t* out = block.codes + r * block.stride;
    const std::uint8_t* row = source + r * row_stride;
    if (column_stride == 1) {
      copy_code_run(row, flip, k, out);
    } else {
      for (std::int64_t i = 0; i < k; ++i) out[i] = row[i * column_stride] ^ flip;
    }
    finish_code_row(block, out, k);
  }
}

void transpose_eights(const CodeBlock& block, std::int64_t begin, std::int64_t end,
                      std::int64_t k) {
  const std::int64_t stride = block.stride, k_pad = padded_k(k);
  for (std::int64_t row = begin; row < end; row += kEightRows) {
    for (std::int64_t at = 0; at < k_pad; at += 64) {
      std::uint8_t* codes = block.codes + row * stride + at;
      for (std::int64_t i = 1; i < kEightRows; ++i) {
        std::uint8_t *in_row = codes + i * stride, *in_column = codes + 8 * i;
        for (std::int64_t j = 0; j < i; ++j) {
          swap_eights(in_row, in_column);
          in_row += 8;
          in_column += stride;
        }
      }
    }
  }
}

}  // namespace octavo
