// SPDX-License-Identifier: Apache-2.0
#include "dispatch/registry.h"

namespace octavo {

// Each kernels.inc is read twice: to declare its symbols and to list its rows.
#define OCTAVO_KERNEL(args, isa, symbol) void symbol(const args##Args&) noexcept;
#define OCTAVO_GEMM_S8(isa, symbol, mr, m_align, min_m, block_rows, form) \
  void symbol(const GemmS8Args&) noexcept;
#define OCTAVO_GEMM_BITMAP_S8(isa, symbol, form, most_rows) \
  void symbol(const GemmBitmapS8Args&) noexcept;
#define OCTAVO_GEMM_BLOCKS_S8(isa, symbol, mr, m_align, min_m, min_fill, form) \
  void symbol(const GemmBlocksS8Args&) noexcept;
#define OCTAVO_GATHER_S8(isa, symbol, form, spread_rows) void symbol(const GatherS8Args&) noexcept;
#define OCTAVO_SPREAD_S8(isa, symbol, form) void symbol(const SpreadS8Args&) noexcept;
#define OCTAVO_SPREAD_QUADS_S8(isa, symbol, most_rows, lanes, form) \
  void symbol(const SpreadQuadsS8Args&) noexcept;
#define OCTAVO_SPREAD_STRIPS_S8(isa, symbol, most_rows, fours_rows, ones_rows, form) \
  void symbol(const SpreadStripsS8Args&) noexcept;
#include "kernels/activation/kernels.inc"
#include "kernels/attention/kernels.inc"
#include "kernels/dequantize_linear/kernels.inc"
#include "kernels/dot_peak/kernels.inc"
#include "kernels/epilogue/kernels.inc"
#include "kernels/expand_s8/kernels.inc"
#include "kernels/gather_s8/kernels.inc"
#include "kernels/gemm_bitmap_s8/kernels.inc"
#include "kernels/gemm_blocks_s8/kernels.inc"
#include "kernels/gemm_s8/kernels.inc"
#include "kernels/layer_norm/kernels.inc"
#include "kernels/quantize_linear/kernels.inc"
#include "kernels/quantize_rows/kernels.inc"
#include "kernels/softmax/kernels.inc"
#include "kernels/spmm_f32/kernels.inc"
#include "kernels/spread_quads_s8/kernels.inc"
#include "kernels/spread_s8/kernels.inc"
#include "kernels/spread_strips_s8/kernels.inc"
#include "kernels/stream_read/kernels.inc"
#include "kernels/transpose_f32/kernels.inc"
#include "kernels/transpose_s8/kernels.inc"
#include "kernels/widen/kernels.inc"
#undef OCTAVO_KERNEL
#undef OCTAVO_GEMM_S8
#undef OCTAVO_GEMM_BITMAP_S8
#undef OCTAVO_GEMM_BLOCKS_S8
#undef OCTAVO_GATHER_S8
#undef OCTAVO_SPREAD_S8
#undef OCTAVO_SPREAD_QUADS_S8
#undef OCTAVO_SPREAD_STRIPS_S8

#define OCTAVO_KERNEL(args, isa, symbol) {Isa::isa, #symbol, symbol},
#define OCTAVO_GEMM_S8(isa, symbol, mr, m_align, min_m, block_rows, form) \
  {Isa::isa, #symbol, symbol, mr, m_align, min_m, block_rows, AForm::form},
#define OCTAVO_GEMM_BITMAP_S8(isa, symbol, form, most_rows) \
  {Isa::isa, #symbol, symbol, AForm::form, most_rows},
#define OCTAVO_GEMM_BLOCKS_S8(isa, symbol, mr, m_align, min_m, min_fill, form) \
  {Isa::isa, #symbol, symbol, mr, m_align, min_m, min_fill, AForm::form},
#define OCTAVO_GATHER_S8(isa, symbol, form, spread_rows) \
  {Isa::isa, #symbol, symbol, AForm::form, spread_rows},
#define OCTAVO_SPREAD_S8(isa, symbol, form) {Isa::isa, #symbol, symbol, AForm::form},
#define OCTAVO_SPREAD_QUADS_S8(isa, symbol, most_rows, lanes, form) \
  {Isa::isa, #symbol, symbol, most_rows, lanes, AForm::form},
#define OCTAVO_SPREAD_STRIPS_S8(isa, symbol, most_rows, fours_rows, ones_rows, form) \
  {Isa::isa, #symbol, symbol, most_rows, fours_rows, ones_rows, AForm::form},

template <>
const std::vector<KernelRow<EpilogueArgs>>& kernel_rows() {
  static const std::vector<KernelRow<EpilogueArgs>> rows = {
#include "kernels/epilogue/kernels.inc"
  };
  return rows;
}

template <>
const std::vector<KernelRow<ExpandS8Args>>& kernel_rows() {
  static const std::vector<KernelRow<ExpandS8Args>> rows = {
#include "kernels/expand_s8/kernels.inc"
  };
  return rows;
}

template <>
const std::vector<KernelRow<QuantizeRowsArgs>>& kernel_rows() {
  static const std::vector<KernelRow<QuantizeRowsArgs>> rows = {
#include "kernels/quantize_rows/kernels.inc"
  };
  return rows;
}

template <>
const std::vector<KernelRow<DotPeakArgs>>& kernel_rows() {
  static const std::vector<KernelRow<DotPeakArgs>> rows = {
#include "kernels/dot_peak/kernels.inc"
  };
  return rows;
}

template <>
const std::vector<KernelRow<StreamReadArgs>>& kernel_rows() {
  static const std::vector<KernelRow<StreamReadArgs>> rows = {
#include "kernels/stream_read/kernels.inc"
  };
  return rows;
}

template <>
const std::vector<KernelRow<ActivationArgs>>& kernel_rows() {
  static const std::vector<KernelRow<ActivationArgs>> rows = {
#include "kernels/activation/kernels.inc"
  };
  return rows;
}

template <>
const std::vector<KernelRow<AttentionArgs>>& kernel_rows() {
  static const std::vector<KernelRow<AttentionArgs>> rows = {
#include "kernels/attention/kernels.inc"
  };
  return rows;
}

template <>
const std::vector<KernelRow<DequantizeLinearArgs>>& kernel_rows() {
  static const std::vector<KernelRow<DequantizeLinearArgs>> rows = {
#include "kernels/dequantize_linear/kernels.inc"
  };
  return rows;
}

template <>
const std::vector<KernelRow<LayerNormArgs>>& kernel_rows() {
  static const std::vector<KernelRow<LayerNormArgs>> rows = {
#include "kernels/layer_norm/kernels.inc"
  };
  return rows;
}

template <>
const std::vector<KernelRow<QuantizeLinearArgs>>& kernel_rows() {
  static const std::vector<KernelRow<QuantizeLinearArgs>> rows = {
#include "kernels/quantize_linear/kernels.inc"
  };
  return rows;
}

template <>
const std::vector<KernelRow<SoftmaxArgs>>& kernel_rows() {
  static const std::vector<KernelRow<SoftmaxArgs>> rows = {
#include "kernels/softmax/kernels.inc"
  };
  return rows;
}

template <>
const std::vector<KernelRow<SpmmF32Args>>& kernel_rows() {
  static const std::vector<KernelRow<SpmmF32Args>> rows = {
#include "kernels/spmm_f32/kernels.inc"
  };
  return rows;
}

template <>
const std::vector<KernelRow<TransposeF32Args>>& kernel_rows() {
  static const std::vector<KernelRow<TransposeF32Args>> rows = {
#include "kernels/transpose_f32/kernels.inc"
  };
  return rows;
}

template <>
const std::vector<KernelRow<WidenArgs>>& kernel_rows() {
  static const std::vector<KernelRow<WidenArgs>> rows = {
#include "kernels/widen/kernels.inc"
  };
  return rows;
}

template <>
const std::vector<KernelRow<TransposeS8Args>>& kernel_rows() {
  static const std::vector<KernelRow<TransposeS8Args>> rows = {
#include "kernels/transpose_s8/kernels.inc"
  };
  return rows;
}

const std::vector<GemmBitmapS8Row>& gemm_bitmap_s8_rows() {
  static const std::vector<GemmBitmapS8Row> rows = {
#include "kernels/gemm_bitmap_s8/kernels.inc"
  };
  return rows;
}

const std::vector<GemmBlocksS8Row>& gemm_blocks_s8_rows() {
  static const std::vector<GemmBlocksS8Row> rows = {
#include "kernels/gemm_blocks_s8/kernels.inc"
  };
  return rows;
}

const std::vector<GatherS8Row>& gather_s8_rows() {
  static const std::vector<GatherS8Row> rows = {
#include "kernels/gather_s8/kernels.inc"
  };
  return rows;
}

const std::vector<SpreadS8Row>& spread_s8_rows() {
  static const std::vector<SpreadS8Row> rows = {
#include "kernels/spread_s8/kernels.inc"
  };
  return rows;
}

const std::vector<SpreadQuadsS8Row>& spread_quads_s8_rows() {
  static const std::vector<SpreadQuadsS8Row> rows = {
#include "kernels/spread_quads_s8/kernels.inc"
  };
  return rows;
}

const std::vector<SpreadStripsS8Row>& spread_strips_s8_rows() {
  static const std::vector<SpreadStripsS8Row> rows = {
#include "kernels/spread_strips_s8/kernels.inc"
  };
  return rows;
}

const std::vector<GemmS8Row>& gemm_s8_rows() {
  static const std::vector<GemmS8Row> rows = {
#include "kernels/gemm_s8/kernels.inc"
  };
  return rows;
}

const GemmS8Row& select_gemm_s8(int64_t m, IsaMask mask) noexcept {
  const auto& rows = gemm_s8_rows();
  for (const GemmS8Row& row : rows) {
    if ((mask & bit(row.isa)) && m >= row.min_m) return row;
  }
  return rows.back();
}

const GemmBitmapS8Row& select_gemm_bitmap_s8(IsaMask mask) noexcept {
  return first_allowed(gemm_bitmap_s8_rows(), mask);
}

const GemmBlocksS8Row& select_gemm_blocks_s8(int64_t m, int64_t blocks, int64_t tiles,
                                             IsaMask mask) noexcept {
  const auto& rows = gemm_blocks_s8_rows();
  for (const GemmBlocksS8Row& row : rows) {
    if ((mask & bit(row.isa)) && m >= row.min_m && blocks >= row.min_fill * tiles) return row;
  }
  return rows.back();
}

const GatherS8Row& select_gather_s8(IsaMask mask) noexcept {
  return first_allowed(gather_s8_rows(), mask);
}

const SpreadQuadsS8Row& select_spread_quads_s8(IsaMask mask) noexcept {
  return first_allowed(spread_quads_s8_rows(), mask);
}

const SpreadStripsS8Row& select_spread_strips_s8(IsaMask mask) noexcept {
  return first_allowed(spread_strips_s8_rows(), mask);
}

const SpreadS8Row& select_spread_s8(AForm form, IsaMask mask) noexcept {
  const auto& rows = spread_s8_rows();
  for (const SpreadS8Row& row : rows) {
    if ((mask & bit(row.isa)) && row.form == form) return row;
  }
  return rows.back();
}

namespace {

template <class Args>
void append(std::vector<KernelInfo>& out, const char* family) {
  for (const auto& row : kernel_rows<Args>()) {
    out.push_back({family, row.name, row.isa, 1, 1, 1});
  }
}

}  // namespace

std::vector<KernelInfo> list_kernels() {
  std::vector<KernelInfo> out;
  for (const GemmS8Row& row : gemm_s8_rows()) {
    out.push_back({"gemm_s8", row.name, row.isa, row.mr, row.m_align, row.min_m});
  }
  for (const GemmBitmapS8Row& row : gemm_bitmap_s8_rows()) {
    out.push_back({"gemm_bitmap_s8", row.name, row.isa, 1, 1, 1});
  }
  for (const GemmBlocksS8Row& row : gemm_blocks_s8_rows()) {
    out.push_back({"gemm_blocks_s8", row.name, row.isa, row.mr, row.m_align, row.min_m});
  }
  append<ExpandS8Args>(out, "expand_s8");
  for (const GatherS8Row& row : gather_s8_rows()) {
    out.push_back({"gather_s8", row.name, row.isa, 1, 1, 1});
  }
  for (const SpreadS8Row& row : spread_s8_rows()) {
    out.push_back({"spread_s8", row.name, row.isa, 32, 1, 1});
  }
  for (const SpreadQuadsS8Row& row : spread_quads_s8_rows()) {
    out.push_back({"spread_quads_s8", row.name, row.isa, row.most_rows, 1, 1});
  }
  for (const SpreadStripsS8Row& row : spread_strips_s8_rows()) {
    out.push_back({"spread_strips_s8", row.name, row.isa, row.most_rows, 1, 1});
  }
  append<TransposeS8Args>(out, "transpose_s8");
  append<QuantizeRowsArgs>(out, "quantize_rows");
  append<EpilogueArgs>(out, "epilogue");
  append<DotPeakArgs>(out, "dot_peak");
  append<StreamReadArgs>(out, "stream_read");
  append<QuantizeLinearArgs>(out, "quantize_linear");
  append<DequantizeLinearArgs>(out, "dequantize_linear");
  append<ActivationArgs>(out, "activation");
  append<LayerNormArgs>(out, "layer_norm");
  append<SoftmaxArgs>(out, "softmax");
  append<AttentionArgs>(out, "attention");
  append<SpmmF32Args>(out, "spmm_f32");
  append<TransposeF32Args>(out, "transpose_f32");
  append<WidenArgs>(out, "widen");
  return out;
}

}  // namespace octavo
