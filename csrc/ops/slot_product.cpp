// SPDX-License-Identifier: Apache-2.0
#include "ops/slot_product.h"

#include "ops/byte_tile.h"

namespace octavo {
namespace {

constexpr std::int64_t kTileRows = 32;

// One shuffle picks out of a narrow window: gather_s8 stays ahead there however many rows there
// are.
bool worth_spreading(const GatherS8Row& gather, SlotIndex kind, std::int64_t rows) {
  return kind == SlotIndex::kWide && rows >= gather.spread_rows;
}

GemmProduct::Shape shape_of(std::int64_t m, const GatherS8Row& gather, const PackedSlots& b) {
  GemmProduct::Shape shape;
  shape.n = b.n();
  shape.k = b.k();
  shape.work = 64 * b.steps();
  shape.form = gather.form;
  shape.row_unit = 1;
  shape.block_rows = kTileRows;
  shape.panels_at_once = b.panels();
  shape.fill_unit = 8;
  shape.tile_bytes = worth_spreading(gather, b.kind(), m) ? kTileRows * padded_k(b.k()) : 0;
  shape.needs_even_blocks = false;  // a tile of 20 rows costs as much as one of 32
  return shape;
}

}  // namespace

SlotProduct::SlotProduct(std::int64_t m, const PackedSlots& b)
    : SlotProduct(m, select_pair<GatherS8Args, SpreadS8Args>(active_isas()), b) {}

SlotProduct::SlotProduct(std::int64_t m, const Kernels& kernels, const PackedSlots& b)
    : GemmProduct(shape_of(m, kernels.kernel, b)),
      b_(b),
      gather_(kernels.kernel),
      spread_(kernels.partner),
      transpose_(select<TransposeS8Args>(active_isas())) {}

bool SlotProduct::spreads(std::int64_t rows) const {
  return worth_spreading(gather_, b_.kind(), rows);
}

void SlotProduct::prepare(const CodeBlock& block, std::int64_t rows, std::int64_t begin,
                          std::int64_t end) const {
  if (spreads(rows)) fill_byte_tile(transpose_, block, kTileRows, begin, end, b_.k());
}

void SlotProduct::multiply(const CodeBlock& block, std::int64_t rows, std::int64_t p,
                           std::int64_t panels, std::int32_t* sums, std::int64_t stride) const {
  const SlotPanels stretch = b_.stretch(p, panels);
  const auto m = static_cast<std::int32_t>(rows);
  if (spreads(rows)) {
    spread_.run({stretch, block.tile, sums, stride, m});
  } else {
    gather_.run({stretch, block.codes, block.stride, sums, stride, m});
  }
}

}  // namespace octavo
