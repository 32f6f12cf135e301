// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include "ops/gemm_driver.h"

namespace octavo {

// Copies rows of 8-bit codes into a CodeBlock. `flip` (0 or 0x80) turns the source's codes into
// signed ones; the block's form may turn them back. Does not write scales or zero points.
void copy_codes(const std::uint8_t* source, std::int64_t row_stride, std::int64_t column_stride,
                std::uint8_t flip, std::int64_t rows, std::int64_t k, const CodeBlock& block);

// out = n bytes of the source, each ^ flip.
void copy_code_run(const std::uint8_t* source, std::uint8_t flip, std::int64_t n,
                   std::uint8_t* out);

// What a block's form asks for beside k codes, signed or flipped, that were written to a row of it.
void finish_code_row(const CodeBlock& block, std::uint8_t* row, std::int64_t k);

// Makes ActivationEncoding::kS8Eights of rows [begin, end) of a block, filled as signed codes;
// begin is a multiple of kEightRows, and rows up to the next one behind end change too.
constexpr std::int64_t kEightRows = 8;
void transpose_eights(const CodeBlock& block, std::int64_t begin, std::int64_t end, std::int64_t k);

}  // namespace octavo
