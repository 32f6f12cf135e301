// SPDX-License-Identifier: Apache-2.0
#include "ops/strip_product.h"

#include "ops/byte_tile.h"

namespace octavo {
namespace {

bool worth_spreading(const SpreadStripsS8Row& kernel, const PackedStrips& b, std::int64_t rows) {
  return rows >= (b.set() == 1 ? kernel.ones_rows : kernel.fours_rows);
}

GemmProduct::Shape shape_of(std::int64_t m, const SpreadStripsS8Row& kernel,
                            const PackedStrips& b) {
  GemmProduct::Shape shape;
  shape.n = b.n();
  shape.k = b.k();
  shape.work = 4 * b.set() * b.squares();
  shape.form = kernel.form;
  shape.row_unit = 1;
  shape.block_rows = kernel.most_rows;
  shape.panels_at_once = b.panels();
  shape.fill_unit = 8;
  shape.tile_bytes = worth_spreading(kernel, b, m) ? kernel.most_rows * padded_k(b.k()) : 0;
  shape.needs_even_blocks = false;  // more than half a tile costs as much as a whole one
  return shape;
}

}  // namespace

StripProduct::StripProduct(std::int64_t m, const PackedStrips& b)
    : StripProduct(m, select<SpreadStripsS8Args>(active_isas()), b) {}

StripProduct::StripProduct(std::int64_t m, const SpreadStripsS8Row& kernel, const PackedStrips& b)
    : GemmProduct(shape_of(m, kernel, b)),
      b_(b),
      kernel_(kernel),
      transpose_(select<TransposeS8Args>(active_isas())) {}

void StripProduct::prepare(const CodeBlock& block, std::int64_t rows, std::int64_t begin,
                           std::int64_t end) const {
  if (worth_spreading(kernel_, b_, rows)) {
    fill_byte_tile(transpose_, block, kernel_.most_rows, begin, end, b_.k());
  }
}

void StripProduct::multiply(const CodeBlock& block, std::int64_t rows, std::int64_t p,
                            std::int64_t panels, std::int32_t* sums, std::int64_t stride) const {
  const bool spread = worth_spreading(kernel_, b_, rows);
  for (std::int64_t part = 0; part < b_.parts(); ++part) {
    const StripPanels stretch = b_.stretch(p, panels, part);
    if (spread) {
      kernel_.run({stretch, block.tile, kernel_.most_rows, sums, stride,
                   static_cast<std::int32_t>(rows), part > 0});
      continue;
    }
    for (std::int64_t m = 0; m < rows; ++m) {
      const std::uint8_t* codes = block.codes + m * block.stride;
      kernel_.run({stretch, codes, 1, sums + m * stride, stride, 1, part > 0});
    }
  }
}

}  // namespace octavo
