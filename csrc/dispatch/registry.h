// SPDX-License-Identifier: Apache-2.0
// The kernel lists of all families and the pure choice among their rows.
#pragma once
#include <string>
#include <vector>

#include "dispatch/isa.h"
#include "kernels/activation/kernel.h"
#include "kernels/attention/kernel.h"
#include "kernels/dequantize_linear/kernel.h"
#include "kernels/dot_peak/kernel.h"
#include "kernels/epilogue/kernel.h"
#include "kernels/expand_s8/kernel.h"
#include "kernels/gather_s8/kernel.h"
#include "kernels/gemm_bitmap_s8/kernel.h"
#include "kernels/gemm_blocks_s8/kernel.h"
#include "kernels/gemm_s8/kernel.h"
#include "kernels/layer_norm/kernel.h"
#include "kernels/quantize_linear/kernel.h"
#include "kernels/quantize_rows/kernel.h"
#include "kernels/softmax/kernel.h"
#include "kernels/spmm_f32/kernel.h"
#include "kernels/spread_quads_s8/kernel.h"
#include "kernels/spread_s8/kernel.h"
#include "kernels/spread_strips_s8/kernel.h"
#include "kernels/stream_read/kernel.h"
#include "kernels/transpose_f32/kernel.h"
#include "kernels/transpose_s8/kernel.h"
#include "kernels/widen/kernel.h"

namespace octavo {

template <class Args>
struct KernelRow {
  Isa isa;
  const char* name;
  void (*run)(const Args&) noexcept;
};

struct GemmS8Row {
  Isa isa;
  const char* name;
  void (*run)(const GemmS8Args&) noexcept;
  int mr;
  int m_align;
  int min_m;
  int block_rows;
  AForm form;
};

struct GemmBitmapS8Row {
  Isa isa;
  const char* name;
  void (*run)(const GemmBitmapS8Args&) noexcept;
  AForm form;
  int most_rows;  // beyond, expand_s8 and gemm_s8 are faster
};

struct GemmBlocksS8Row {
  Isa isa;
  const char* name;
  void (*run)(const GemmBlocksS8Args&) noexcept;
  int mr;
  int m_align;
  int min_m;
  int min_fill;  // blocks in a tile, on average
  AForm form;
};

struct GatherS8Row {
  Isa isa;
  const char* name;
  void (*run)(const GatherS8Args&) noexcept;
  AForm form;
  int spread_rows;  // from so many rows on, spread_s8 is faster
};

struct SpreadS8Row {
  Isa isa;
  const char* name;
  void (*run)(const SpreadS8Args&) noexcept;
  AForm form;
};

struct SpreadQuadsS8Row {
  Isa isa;
  const char* name;
  void (*run)(const SpreadQuadsS8Args&) noexcept;
  int most_rows;
  int lanes;
  AForm form;
};

struct SpreadStripsS8Row {
  Isa isa;
  const char* name;
  void (*run)(const SpreadStripsS8Args&) noexcept;
  int most_rows;
  int fours_rows;
  int ones_rows;
  AForm form;
};

// All rows of a family that are compiled in, best first.
template <class Args>
const std::vector<KernelRow<Args>>& kernel_rows();
template <>
const std::vector<KernelRow<DotPeakArgs>>& kernel_rows();
template <>
const std::vector<KernelRow<EpilogueArgs>>& kernel_rows();
template <>
const std::vector<KernelRow<ExpandS8Args>>& kernel_rows();
template <>
const std::vector<KernelRow<QuantizeRowsArgs>>& kernel_rows();
template <>
const std::vector<KernelRow<StreamReadArgs>>& kernel_rows();
template <>
const std::vector<KernelRow<ActivationArgs>>& kernel_rows();
template <>
const std::vector<KernelRow<AttentionArgs>>& kernel_rows();
template <>
const std::vector<KernelRow<DequantizeLinearArgs>>& kernel_rows();
template <>
const std::vector<KernelRow<LayerNormArgs>>& kernel_rows();
template <>
const std::vector<KernelRow<QuantizeLinearArgs>>& kernel_rows();
template <>
const std::vector<KernelRow<SoftmaxArgs>>& kernel_rows();
template <>
const std::vector<KernelRow<TransposeS8Args>>& kernel_rows();
template <>
const std::vector<KernelRow<SpmmF32Args>>& kernel_rows();
template <>
const std::vector<KernelRow<TransposeF32Args>>& kernel_rows();
template <>
const std::vector<KernelRow<WidenArgs>>& kernel_rows();
const std::vector<GemmS8Row>& gemm_s8_rows();
const std::vector<GemmBitmapS8Row>& gemm_bitmap_s8_rows();
const std::vector<GemmBlocksS8Row>& gemm_blocks_s8_rows();
const std::vector<GatherS8Row>& gather_s8_rows();
const std::vector<SpreadS8Row>& spread_s8_rows();
const std::vector<SpreadQuadsS8Row>& spread_quads_s8_rows();
const std::vector<SpreadStripsS8Row>& spread_strips_s8_rows();

// The first row whose tier is in the mask; the last one where none is.
template <class Row>
const Row& first_allowed(const std::vector<Row>& rows, IsaMask mask) noexcept {
  for (const Row& row : rows) {
    if (mask & bit(row.isa)) return row;
  }
  return rows.back();
}

// The first row whose tier is in the mask. Never null: every family has a scalar row.
template <class Args>
const KernelRow<Args>& select(IsaMask mask) noexcept {
  return first_allowed(kernel_rows<Args>(), mask);
}

// The first row whose tier is in the mask and that is meant for m rows.
const GemmS8Row& select_gemm_s8(int64_t m, IsaMask mask) noexcept;

// The first row whose tier is in the mask.
const GemmBitmapS8Row& select_gemm_bitmap_s8(IsaMask mask) noexcept;
const GatherS8Row& select_gather_s8(IsaMask mask) noexcept;
const SpreadQuadsS8Row& select_spread_quads_s8(IsaMask mask) noexcept;
const SpreadStripsS8Row& select_spread_strips_s8(IsaMask mask) noexcept;

// The first row whose tier is in the mask and that is meant for m rows and for a weight with so
// many blocks in so many tiles.
const GemmBlocksS8Row& select_gemm_blocks_s8(int64_t m, int64_t blocks, int64_t tiles,
                                             IsaMask mask) noexcept;

// The first row whose tier is in the mask and that takes the form of the gather row in use.
const SpreadS8Row& select_spread_s8(AForm form, IsaMask mask) noexcept;

// One line per row for tests, `octavo info` and the benchmark.
struct KernelInfo {
  std::string family;
  std::string name;
  Isa isa;
  int mr;
  int m_align;
  int min_m;
};
std::vector<KernelInfo> list_kernels();

}  // namespace octavo
