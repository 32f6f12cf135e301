// SPDX-License-Identifier: Apache-2.0
// The loops around every int8 product: which rows and panels go to which thread, and where codes
// and sums live meanwhile. What differs between operations is behind three interfaces: how rows
// become codes (RowSource), what the weight looks like and which kernels read it (GemmProduct),
// what happens to the sums (SumSink).
#pragma once
#include <algorithm>
#include <cstdint>

#include "dispatch/registry.h"
#include "layout/sizes.h"
#include "ops/scratch.h"

namespace octavo {

// Codes of a row in scratch, zeros behind k included.
inline std::int64_t padded_k(std::int64_t k) { return round_up(std::max<std::int64_t>(k, 1), 64); }

// Codes of a stretch of rows in scratch, in the form of the chosen kernel.
struct CodeBlock {
  AForm form;
  std::int64_t stride;      // bytes from row to row
  std::int64_t abs_offset;  // of the |code| plane of AForm::kSignAbs
  std::uint8_t* codes;
  float* row_scale;
  std::int32_t* zero_point;  // in the form's domain: signed, plus 128 for AForm::kU8
  std::uint8_t* tile;        // GemmProduct::Shape::tile_bytes of its own
};

class RowSource {
 public:
  virtual ~RowSource() = default;
  // Fills rows [m0, m0 + rows) of the operand into the block's first `rows` rows, zero padding
  // behind k included.
  virtual void fill(std::int64_t m0, std::int64_t rows, const CodeBlock& block) const = 0;
};

// The right side of a product, for a given number of rows on the left.
class GemmProduct {
 public:
  // Columns of a panel: sums come in whole panels.
  static constexpr std::int64_t kPanelWidth = 16;

  struct Shape {
    std::int64_t n, k;
    std::int64_t work;              // multiply-adds per row
    AForm form;                     // of the codes
    std::int64_t row_unit;          // blocks of rows are cut and padded to it
    std::int64_t block_rows;        // most rows that read the weight together
    std::int64_t panels_at_once;    // most panels per call of multiply()
    std::int64_t fill_unit = 1;     // parts of a block that threads fill are cut to it
    std::int64_t tile_bytes = 0;    // of a block, for prepare()
    bool needs_even_blocks = true;  // 100 rows on two threads: 2 x 52, not 64 + 36
  };

  explicit GemmProduct(const Shape& shape) : shape_(shape) {}
  virtual ~GemmProduct() = default;
  const Shape& shape() const { return shape_; }
  std::int64_t panels() const { return (shape_.n + kPanelWidth - 1) / kPanelWidth; }

  // Called when rows [begin, end) of a block, which will have `rows`, are filled; from several
  // threads, each with its own rows.
  virtual void prepare(const CodeBlock&, std::int64_t, std::int64_t, std::int64_t) const {}

  // sums (rows padded to row_unit, whole panels) = codes of a block x panels [p, p + panels).
  virtual void multiply(const CodeBlock& block, std::int64_t rows, std::int64_t p,
                        std::int64_t panels, std::int32_t* sums, std::int64_t stride) const = 0;

 private:
  Shape shape_;
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

// The product of m rows from `source`, handed to `sink` block by block from several threads. Each
// row's sums depend on that row alone.
void run_gemm(std::int64_t m, const GemmProduct& product, const RowSource& source,
              const SumSink& sink);

}  // namespace octavo
