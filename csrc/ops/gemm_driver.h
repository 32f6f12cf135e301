// SPDX-License-Identifier: Apache-2.0
// The loops around a gemm_s8 kernel: which rows and panels go to which thread, which part of k at
// a time, and where codes and sums live meanwhile. What differs between operations (how rows
// become codes, what happens to the sums) is a RowSource and a SumSink.
#pragma once
#include <cstdint>

#include "dispatch/registry.h"
#include "layout/packed_b.h"

namespace octavo {

// Codes of a stretch of rows in scratch, in the form of the chosen kernel.
struct CodeBlock {
  AForm form;
  std::int64_t stride;      // bytes from row to row
  std::int64_t abs_offset;  // of the |code| plane of AForm::kSignAbs
  std::uint8_t* codes;
  float* row_scale;
  std::int32_t* zero_point;  // in the form's domain: signed, plus 128 for AForm::kU8
};

class RowSource {
 public:
  virtual ~RowSource() = default;
  // Fills rows [m0, m0 + rows) of the operand into the block's first `rows` rows, zero padding
  // behind k included.
  virtual void fill(std::int64_t m0, std::int64_t rows, const CodeBlock& block) const = 0;
};

// Finished int32 sums of rows [m0, m0 + rows) x columns [n0, n0 + columns).
struct SumBlock {
  const std::int32_t* sums;
  std::int64_t stride;  // elements
  std::int64_t m0, rows;
  std::int64_t n0, columns;
  const CodeBlock* rows_info;  // row_scale and zero_point of row m0 come first
};

class SumSink {
 public:
  virtual ~SumSink() = default;
  virtual void take(const SumBlock& block) const = 0;
};

// The product of m rows from `source` with `b`, handed to `sink` block by block from several
// threads. Each row's sums depend on that row alone.
void run_gemm(std::int64_t m, const PackedB& b, const RowSource& source, const SumSink& sink);

}  // namespace octavo
