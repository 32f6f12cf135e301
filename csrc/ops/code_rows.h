// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include "ops/gemm_driver.h"

namespace octavo {

// Copies rows of 8-bit codes into a CodeBlock. `flip` (0 or 0x80) turns the source's codes into
// signed ones; the block's form may turn them back. Does not write scales or zero points.
void copy_codes(const std::uint8_t* source, std::int64_t row_stride, std::int64_t column_stride,
                std::uint8_t flip, std::int64_t rows, std::int64_t k, const CodeBlock& block);

}  // namespace octavo
