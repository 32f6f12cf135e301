// SPDX-License-Identifier: Apache-2.0
#include "ops/quad_product.h"

namespace octavo {
namespace {

GemmProduct::Shape shape_of(const SpreadQuadsS8Row& kernel, const PackedQuads& b) {
  GemmProduct::Shape shape;
  shape.n = b.n();
  shape.k = b.k();
  shape.work = PackedQuads::kGroup * b.quads();
  shape.form = kernel.form;
  shape.row_unit = kernel.lanes;
  shape.block_rows = kernel.most_rows;
  shape.panels_at_once = b.panels();
  shape.fill_unit = 8;
  shape.tile_bytes = kernel.most_rows * padded_k(b.k());
  return shape;
}

}  // namespace

QuadProduct::QuadProduct(const PackedQuads& b)
    : QuadProduct(select<SpreadQuadsS8Args>(active_isas()), b) {}

QuadProduct::QuadProduct(const SpreadQuadsS8Row& kernel, const PackedQuads& b)
    : GemmProduct(shape_of(kernel, b)),
      b_(b),
      kernel_(kernel),
      transpose_(select<TransposeF32Args>(active_isas())) {}

// Four codes are moved as if they were a float: transpose_f32 keeps bits.
void QuadProduct::prepare(const CodeBlock& block, std::int64_t rows, std::int64_t begin,
                          std::int64_t end) const {
  if (begin == end) return;
  TransposeF32Args args;
  args.x = reinterpret_cast<const float*>(block.codes + begin * block.stride);
  args.x_stride = block.stride / PackedQuads::kGroup;
  args.rows = end - begin;
  args.columns = padded_k(b_.k()) / PackedQuads::kGroup;
  args.out = reinterpret_cast<float*>(block.tile) + begin;
  args.out_stride = round_up(rows, kernel_.lanes);
  transpose_.run(args);
}

void QuadProduct::multiply(const CodeBlock& block, std::int64_t rows, std::int64_t p,
                           std::int64_t panels, std::int32_t* sums, std::int64_t stride) const {
  kernel_.run({b_.stretch(p, panels), block.tile, sums, stride, static_cast<std::int32_t>(rows)});
}

}  // namespace octavo
