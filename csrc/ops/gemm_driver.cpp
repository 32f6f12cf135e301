// SPDX-License-Identifier: Apache-2.0
#include "ops/gemm_driver.h"

#include <algorithm>

#include "dispatch/cpu_features.h"
#include "ops/scratch.h"
#include "threads/pool.h"

namespace octavo {
namespace {

// Below this many multiply-adds a thread's share is not worth handing over (~2 us of work).
constexpr std::int64_t kWorkPerThread = 100000;
// From this many rows per thread on, threads split rows and quantize their own; below, they split
// columns, so that each byte of the weight is read by one thread only.
constexpr std::int64_t kRowsPerThread = 32;
// A block has as many rows as its kernel asks for, fewer where their codes would fill more than
// half of L2: they stay there while the weight streams past.
constexpr std::int64_t kFewestBlockRows = 16;
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
// Sums kept between two parts of k: 32 KiB.
constexpr std::int64_t kBlockSums = 8192;

struct Plan {
  const GemmS8Row* kernel;
  std::int64_t m, k, block_rows, row_blocks, panel_chunk, column_tasks, k_chunk;
  std::int64_t code_stride, abs_offset, code_bytes, info_bytes, sum_panels, sum_bytes;
  int threads;
  bool split_rows;
};

int useful_threads(std::int64_t m, const PackedB& b) {
  const int limit = get_num_threads();
  if (limit == 1) return 1;
  const std::int64_t work = m * b.n() * std::max<std::int64_t>(b.k(), 16);
  return static_cast<int>(std::clamp<std::int64_t>(work / kWorkPerThread, 1, limit));
}

// Rows at a stride of a multiple of 4096 bytes would all fall into the same cache sets.
std::int64_t spread_stride(std::int64_t bytes) { return bytes % 1024 == 0 ? bytes + 64 : bytes; }

Plan make_plan(std::int64_t m, const PackedB& b) {
  Plan plan;
  plan.kernel = &select_gemm_s8(m, active_isas());
  plan.m = m;
  plan.k = b.k();
  plan.threads = useful_threads(m, b);
  plan.split_rows = plan.threads == 1 || m >= plan.threads * kRowsPerThread;
  const std::int64_t k_pad = round_up(std::max<std::int64_t>(b.k(), 1), 64);
  plan.abs_offset = plan.kernel->form == AForm::kSignAbs ? spread_stride(k_pad) : 0;
  plan.code_stride = spread_stride(plan.abs_offset + k_pad);

  const auto half_l2 = static_cast<std::int64_t>(cpu_features().l2_bytes / 2);
  const std::int64_t fitting_rows = std::max(kFewestBlockRows, half_l2 / plan.code_stride);
  const std::int64_t most_rows = std::min<std::int64_t>(plan.kernel->block_rows, fitting_rows);
  // Even blocks: 100 rows on two threads are 2 x 52, not 64 + 36.
  const std::int64_t shares = plan.split_rows ? plan.threads : 1;
  const std::int64_t rounds = (m + shares * most_rows - 1) / (shares * most_rows);
  const std::int64_t unit = std::max(plan.kernel->mr, plan.kernel->m_align);
  plan.block_rows = round_up((m + shares * rounds - 1) / (shares * rounds), unit);
  plan.row_blocks = (m + plan.block_rows - 1) / plan.block_rows;

  plan.code_bytes = plan.block_rows * plan.code_stride;
  plan.info_bytes = round_up(plan.block_rows * 4, 64);
  // A panel's part is read once per block of mr rows: with one such block a split brings nothing.
  const std::int64_t chunks = m <= plan.kernel->mr ? 1 : (k_pad + kBlockK - 1) / kBlockK;
  plan.k_chunk = round_up((k_pad + chunks - 1) / chunks, kOrderK);

  // 12 panels suit kernels that take 1, 2, 3 or 4 at a time.
  const std::int64_t shares_of_columns = plan.split_rows ? 1 : plan.threads * 4;
  plan.panel_chunk = round_up((b.panels() + shares_of_columns - 1) / shares_of_columns, 4);
  if (plan.panel_chunk > 12) plan.panel_chunk = round_up(plan.panel_chunk, 12);
  plan.column_tasks = (b.panels() + plan.panel_chunk - 1) / plan.panel_chunk;
  const std::int64_t most = plan.k_chunk < k_pad ? kPanelsWithParts : b.panels();
  const std::int64_t fitting = std::clamp<std::int64_t>(
      kBlockSums / PackedB::kPanelWidth / plan.block_rows, 4, std::max<std::int64_t>(most, 4));
  // Even, since two panels share a GroupOrder.
  plan.sum_panels = std::min(plan.panel_chunk, fitting / 2 * 2);
  plan.sum_bytes = plan.block_rows * plan.sum_panels * PackedB::kPanelWidth * 4;
  return plan;
}

CodeBlock code_block(const Plan& plan, std::uint8_t* memory) {
  CodeBlock block;
  block.form = plan.kernel->form;
  block.stride = plan.code_stride;
  block.abs_offset = plan.abs_offset;
  block.codes = memory;
  block.row_scale = reinterpret_cast<float*>(memory + plan.code_bytes);
  block.zero_point = reinterpret_cast<std::int32_t*>(memory + plan.code_bytes + plan.info_bytes);
  return block;
}

// Rows [m0, m0 + rows), whose codes are in `block`, times panels [p_begin, p_end).
void multiply(const Plan& plan, const PackedB& b, const CodeBlock& block, std::int64_t m0,
              std::int64_t rows, std::int64_t p_begin, std::int64_t p_end, std::int32_t* sums,
              const SumSink& sink) {
  for (std::int64_t p = p_begin; p < p_end; p += plan.sum_panels) {
    const std::int64_t panels = std::min(plan.sum_panels, p_end - p);
    GemmS8Args args;
    args.a_stride = block.stride;
    args.a_abs_offset = block.abs_offset;
    args.b_panel_stride = b.panel_stride();
    args.b_orders_stride = b.orders_stride();
    args.c = sums;
    args.c_stride = plan.sum_panels * PackedB::kPanelWidth;
    args.m = static_cast<std::int32_t>(rows);
    args.panels = static_cast<std::int32_t>(panels);
    std::int64_t k0 = 0;
    do {  // once even for k = 0, which writes the zeros
      args.a = block.codes + k0;
      args.b = b.panel(p) + k0 * PackedB::kPanelWidth;
      if (b.orders(p) != nullptr) args.b_orders = b.orders(p) + k0 / kOrderK;
      args.k_groups = static_cast<std::int32_t>(
          std::min(plan.k_chunk / PackedB::kGroup, b.k_groups() - k0 / PackedB::kGroup));
      args.accumulate = k0 > 0;
      plan.kernel->run(args);
      k0 += plan.k_chunk;
    } while (k0 < b.k());
    const std::int64_t n0 = p * PackedB::kPanelWidth;
    const std::int64_t columns = std::min(panels * PackedB::kPanelWidth, b.n() - n0);
    sink.take({sums, args.c_stride, m0, rows, n0, columns, &block});
  }
}

// Each task quantizes a block of rows and multiplies it with the whole weight.
void run_by_rows(const Plan& plan, const PackedB& b, const RowSource& source, const SumSink& sink) {
  const std::int64_t block_bytes = plan.code_bytes + 2 * plan.info_bytes;
  const std::int64_t per_thread = round_up(block_bytes + plan.sum_bytes, 64);
  std::uint8_t* memory = scratch(static_cast<std::size_t>(per_thread * plan.threads));
  parallel_for(plan.row_blocks, plan.threads, [&](std::int64_t task, int worker) {
    const CodeBlock block = code_block(plan, memory + worker * per_thread);
    auto* sums = reinterpret_cast<std::int32_t*>(memory + worker * per_thread + block_bytes);
    const std::int64_t m0 = task * plan.block_rows;
    const std::int64_t rows = std::min(plan.block_rows, plan.m - m0);
    source.fill(m0, rows, block);
    multiply(plan, b, block, m0, rows, 0, b.panels(), sums, sink);
  });
}

// All rows are quantized first; then each task multiplies one block of them with a few panels.
void run_by_columns(const Plan& plan, const PackedB& b, const RowSource& source,
                    const SumSink& sink) {
  const std::int64_t block_bytes = plan.code_bytes + 2 * plan.info_bytes;
  const std::int64_t sums_at = round_up(block_bytes * plan.row_blocks, 64);
  std::uint8_t* memory = scratch(static_cast<std::size_t>(sums_at + plan.threads * plan.sum_bytes));
  const auto rows_of = [&](std::int64_t block) {
    return std::min(plan.block_rows, plan.m - block * plan.block_rows);
  };
  // Quarter blocks, so that one block of rows already feeds four threads; small ones stay here.
  const std::int64_t parts = plan.m * plan.k < 16384 ? 1 : 4;
  parallel_for(plan.row_blocks * parts, parts == 1 ? 1 : plan.threads, [&](std::int64_t task, int) {
    const std::int64_t block_index = task / parts, part = task % parts;
    CodeBlock block = code_block(plan, memory + block_index * block_bytes);
    const std::int64_t rows = rows_of(block_index);
    const std::int64_t begin = rows * part / parts, end = rows * (part + 1) / parts;
    block.codes += begin * block.stride;
    block.row_scale += begin;
    block.zero_point += begin;
    source.fill(block_index * plan.block_rows + begin, end - begin, block);
  });
  parallel_for(
      plan.column_tasks * plan.row_blocks, plan.threads, [&](std::int64_t task, int worker) {
        const std::int64_t block_index = task % plan.row_blocks;
        const CodeBlock block = code_block(plan, memory + block_index * block_bytes);
        auto* sums = reinterpret_cast<std::int32_t*>(memory + sums_at + worker * plan.sum_bytes);
        const std::int64_t p = task / plan.row_blocks * plan.panel_chunk;
        multiply(plan, b, block, block_index * plan.block_rows, rows_of(block_index), p,
                 std::min(p + plan.panel_chunk, b.panels()), sums, sink);
      });
}

}  // namespace

void run_gemm(std::int64_t m, const PackedB& b, const RowSource& source, const SumSink& sink) {
  if (m == 0 || b.n() == 0) return;
  const Plan plan = make_plan(m, b);
  if (plan.split_rows) {
    run_by_rows(plan, b, source, sink);
  } else {
    run_by_columns(plan, b, source, sink);
  }
}

}  // namespace octavo
