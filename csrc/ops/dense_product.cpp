// SPDX-License-Identifier: Apache-2.0
#include "ops/dense_product.h"

#include <algorithm>

#include "ops/work_split.h"

namespace octavo {
namespace {

// Bytes of k at a time: two panels' parts (16 KiB) stay in L1 while the rows of a block pass. The
// AVX2 kernel alone, 64x768, K = 768 and 3072: 177 and 166 GOP/s; with parts of 256, 175 and 162,
// with 768, 174 and 159.
constexpr std::int64_t kBlockK = 512;
// A part of k consists of whole blocks of a GroupOrder.
constexpr std::int64_t kOrderK = GroupOrder::kGroups * PackedB::kGroup;
// With k in parts, panels at a time: each part jumps from panel to panel, and the prefetcher loses
// its thread over many of them (8x4096x4096, AVX2: 69 GOP/s with 56 panels, 106 with 8; 16 give
// 1.00 to 1.05 times the speed of 8 from 8 to 128 rows, 4 give 0.95 to 0.98).
constexpr std::int64_t kPanelsWithParts = 16;

// A panel's part is read once per block of mr rows: with one such block a split brings nothing.
std::int64_t chunk_of_k(std::int64_t m, const GemmS8Row& kernel, const PackedB& b) {
  const std::int64_t chunks = m <= kernel.mr ? 1 : ceil_div(padded_k(b.k()), kBlockK);
  return round_up(ceil_div(padded_k(b.k()), chunks), kOrderK);
}

GemmProduct::Shape shape_of(const GemmS8Row& kernel, std::int64_t k_chunk, const PackedB& b) {
  GemmProduct::Shape shape;
  shape.n = b.n();
  shape.k = b.k();
  shape.work = b.n() * b.k();
  shape.form = kernel.form;
  shape.row_unit = std::max(kernel.mr, kernel.m_align);
  shape.block_rows = kernel.block_rows;
  shape.panels_at_once = k_chunk < padded_k(b.k()) ? kPanelsWithParts : b.panels();
  return shape;
}

}  // namespace

DenseProduct::DenseProduct(std::int64_t m, const PackedB& b)
    : DenseProduct(select<GemmS8Args>(active_isas(), m),
                   chunk_of_k(m, select<GemmS8Args>(active_isas(), m), b), b) {}

DenseProduct::DenseProduct(const GemmS8Row& kernel, std::int64_t k_chunk, const PackedB& b)
    : GemmProduct(shape_of(kernel, k_chunk, b)), b_(b), kernel_(kernel), k_chunk_(k_chunk) {}

void DenseProduct::multiply(const CodeBlock& block, std::int64_t rows, std::int64_t p,
                            std::int64_t panels, std::int32_t* sums, std::int64_t stride) const {
  GemmS8Args args;
  args.a_stride = block.stride;
  args.a_abs_offset = block.abs_offset;
  args.b_panel_stride = b_.panel_stride();
  args.b_orders_stride = b_.orders_stride();
  args.c = sums;
  args.c_stride = stride;
  args.m = static_cast<std::int32_t>(rows);
  args.panels = static_cast<std::int32_t>(panels);
  std::int64_t k0 = 0;
  do {  // once even for k = 0, which writes the zeros
    args.a = block.codes + k0;
    args.b = b_.panel(p) + k0 * PackedB::kPanelWidth;
    if (b_.orders(p) != nullptr) args.b_orders = b_.orders(p) + k0 / kOrderK;
    args.k_groups = static_cast<std::int32_t>(
        std::min(k_chunk_ / PackedB::kGroup, b_.k_groups() - k0 / PackedB::kGroup));
    args.accumulate = k0 > 0;
    kernel_.run(args);
    k0 += k_chunk_;
  } while (k0 < b_.k());
}

}  // namespace octavo
