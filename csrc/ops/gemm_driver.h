// SPDX-License-Identifier: Apache-2.0
// The loops around every int8 product: which rows and panels go to which thread, and where codes
// and sums live meanwhile. What differs between operations is behind three interfaces: how rows
// become codes (RowSource), how the weight is held and which kernels read it (Weight), what happens
// to the sums (SumSink).
#pragma once
#include <cstdint>

#include "weights/weight.h"

namespace octavo {

class RowSource {
 public:
  virtual ~RowSource() = default;
  // Fills rows [m0, m0 + rows) of the operand into the block's first `rows` rows, zero padding
  // behind k included; in the weight's groups, if it has any.
  virtual void fill(std::int64_t m0, std::int64_t rows, const CodeBlock& block) const = 0;
};

// Finished sums of rows [m0, m0 + rows) x columns [n0, n0 + columns).
struct SumBlock {
  const std::int32_t* sums;  // or float32, scaled already
  bool scaled;
  std::int64_t stride;  // elements
  std::int64_t m0, rows;
  std::int64_t n0, columns;
  const CodeBlock* row_params;  // row_scale and zero_point of row m0 come first
};

class SumSink {
 public:
  virtual ~SumSink() = default;
  virtual void take(const SumBlock& block) const = 0;
};

struct Product {
  const Weight* weight;
  const SumSink* sink;
};

// The products of m rows from `source` with each weight, by the kernels of active_isas(), handed to
// its sink block by block from several threads. Each row's sums depend on that row alone. Rows are
// filled once for neighbours whose kernels want the same codes; all weights have the same k.
void run_gemm(std::int64_t m, const Product* products, std::int64_t count, const RowSource& source);

inline void run_gemm(std::int64_t m, const Weight& weight, const RowSource& source,
                     const SumSink& sink) {
  const Product product = {&weight, &sink};
  run_gemm(m, &product, 1, source);
}

}  // namespace octavo
