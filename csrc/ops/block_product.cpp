// SPDX-License-Identifier: Apache-2.0
#include "ops/block_product.h"

#include <algorithm>

namespace octavo {
namespace {

// Codes of the rows that read a panel together. They are read at the places of its blocks, so they
// should lie in L1; the blocks, one after another, come from L2 as fast as they are needed.
constexpr std::int64_t kCodeBytes = 24576;

const GemmBlocksS8Row& kernel_for(std::int64_t m, const PackedBlocks& b) {
  return select<GemmBlocksS8Args>(active_isas(), m, b.blocks(), b.tiles());
}

GemmProduct::Shape shape_of(const GemmBlocksS8Row& kernel, const PackedBlocks& b) {
  GemmProduct::Shape shape;
  shape.n = b.n();
  shape.k = b.k();
  shape.work = 64 * b.blocks();
  shape.form = kernel.form;
  shape.row_unit = std::max(kernel.mr, kernel.m_align);
  const std::int64_t fitting = kCodeBytes / padded_k(b.k());
  shape.block_rows = std::max(shape.row_unit, fitting / shape.row_unit * shape.row_unit);
  shape.panels_at_once = b.panels();
  return shape;
}

}  // namespace

BlockProduct::BlockProduct(std::int64_t m, const PackedBlocks& b)
    : BlockProduct(kernel_for(m, b), b) {}

BlockProduct::BlockProduct(const GemmBlocksS8Row& kernel, const PackedBlocks& b)
    : GemmProduct(shape_of(kernel, b)), b_(b), kernel_(kernel) {}

void BlockProduct::multiply(const CodeBlock& block, std::int64_t rows, std::int64_t p,
                            std::int64_t panels, std::int32_t* sums, std::int64_t stride) const {
  kernel_.run({b_.stretch(p, panels), block.codes, block.stride, sums, stride,
               static_cast<std::int32_t>(rows)});
}

}  // namespace octavo
