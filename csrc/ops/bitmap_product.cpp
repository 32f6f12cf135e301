// SPDX-License-Identifier: Apache-2.0
#include "ops/bitmap_product.h"

#include <algorithm>

namespace octavo {
namespace {

// What is expanded at a time, 24 KiB on the stack: it is read back from L1, or L2 at worst. Kernels
// take 1, 2 or 3 panels together.
constexpr std::int64_t kPanels = 6;
constexpr std::int64_t kPartGroups = PackedBitmap::kBlockGroups;
constexpr std::int64_t kPanelBytes = kPartGroups * PackedBitmap::kPanelWidth * PackedBitmap::kGroup;

// Null where the rows are too many, or where the tier has no such kernel but can expand.
const GemmBitmapS8Row* fused_for(std::int64_t m, IsaMask mask) {
  const GemmBitmapS8Row& row = select<GemmBitmapS8Args>(mask);
  const bool lesser_tier = bit(row.isa) < bit(select<ExpandS8Args>(mask).isa);
  return m > row.most_rows || lesser_tier ? nullptr : &row;
}

GemmProduct::Shape shape_of(const GemmS8Row& gemm, const GemmBitmapS8Row* fused,
                            const PackedBitmap& b) {
  GemmProduct::Shape shape;
  shape.n = b.n();
  shape.k = b.k();
  shape.work = b.n() * b.k();
  shape.form = fused ? fused->form : gemm.form;
  shape.row_unit = fused ? 1 : std::max(gemm.mr, gemm.m_align);
  shape.block_rows = fused ? fused->most_rows : gemm.block_rows;
  shape.panels_at_once = b.panels();
  return shape;
}

}  // namespace

BitmapProduct::BitmapProduct(std::int64_t m, const PackedBitmap& b)
    : BitmapProduct(select<GemmS8Args>(active_isas(), m), fused_for(m, active_isas()), b) {}

BitmapProduct::BitmapProduct(const GemmS8Row& gemm, const GemmBitmapS8Row* fused,
                             const PackedBitmap& b)
    : GemmProduct(shape_of(gemm, fused, b)),
      b_(b),
      gemm_(gemm),
      fused_(fused),
      expand_(select<ExpandS8Args>(active_isas())) {}

void BitmapProduct::multiply(const CodeBlock& block, std::int64_t rows, std::int64_t p,
                             std::int64_t panels, std::int32_t* sums, std::int64_t stride) const {
  if (fused_ != nullptr) {
    fused_->run({b_.stretch(p, panels), block.codes, block.stride, sums, stride,
                 static_cast<std::int32_t>(rows), static_cast<std::int32_t>(b_.k_groups())});
    return;
  }
  for (std::int64_t done = 0; done < panels; done += kPanels) {
    const std::int64_t some = std::min(kPanels, panels - done);
    std::int64_t part = 0;
    do {  // once even for k = 0, which writes the zeros
      multiply_part(block, rows, p + done, some, part, sums + done * kPanelWidth, stride);
      ++part;
    } while (part * kPartGroups < b_.k_groups());
  }
}

void BitmapProduct::multiply_part(const CodeBlock& block, std::int64_t rows, std::int64_t p,
                                  std::int64_t panels, std::int64_t part, std::int32_t* sums,
                                  std::int64_t stride) const {
  // Kernels that read 16 groups at once multiply those behind the last one with zeros.
  alignas(64) std::int8_t expanded[kPanels * kPanelBytes];
  const std::int64_t first = part * kPartGroups;
  const auto groups = static_cast<std::int32_t>(std::min(kPartGroups, b_.k_groups() - first));
  expand_.run({b_.stretch(p, panels, part), expanded, kPanelBytes, groups});
  GemmS8Args args;
  args.a = block.codes + first * PackedBitmap::kGroup;
  args.a_stride = block.stride;
  args.a_abs_offset = block.abs_offset;
  args.b = expanded;
  args.b_panel_stride = kPanelBytes;
  args.c = sums;
  args.c_stride = stride;
  args.m = static_cast<std::int32_t>(rows);
  args.panels = static_cast<std::int32_t>(panels);
  args.k_groups = groups;
  args.accumulate = part > 0;
  gemm_.run(args);
}

}  // namespace octavo
