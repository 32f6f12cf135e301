// SPDX-License-Identifier: Apache-2.0
#include "ops/conv_codes.h"

#include <algorithm>

#include "ops/scratch.h"
#include "ops/work_split.h"

namespace octavo {
namespace {

// Multiply-adds that a thread does in about 2 us.
constexpr std::int64_t kWorkPerThread = 400000;
// Bytes of inputs and outputs of a task: they stay in L1 while panels pass. A task has some rows at
// least, since each reads the weight.
constexpr std::int64_t kTaskBytes = 32768, kFewestRows = 64, kMostRows = 1024;
// Rows and columns of tasks are multiples of these: whole blocks of every tier.
constexpr std::int64_t kRowUnit = 24, kColumnUnit = 48;
constexpr std::int64_t kTasksPerThread = 3;

}  // namespace

bool runs_in_one_pass(std::int64_t m, std::int64_t k, IsaMask isas) {
  const KernelRow<GemmCodesS8Args>& kernel = select<GemmCodesS8Args>(isas);
  return kernel.isa >= select<GemmS8Args>(isas, m).isa && k <= kernel.most_k;
}

void run_in_one_pass(std::int64_t m, const CodesLayer& layer, const WindowRows& rows,
                     std::int8_t* out, std::int64_t stride) {
  const DenseWeight& weight = layer.weight;
  const std::int64_t n = weight.n(), k_bytes = weight.k_groups() * Weight::kGroup;
  if (m == 0 || n == 0) return;
  // Behind k there may be anything, since the weight is zero there, but it must be in the image.
  const std::int8_t* image = k_bytes == weight.k() ? rows.in_place() : nullptr;
  const std::int64_t a_stride = image == nullptr ? round_up(k_bytes + 15, 16) : rows.step();
  const int threads = threads_for(checked_mul(m, n, k_bytes), kWorkPerThread);

  const std::int64_t fitting = std::clamp(kTaskBytes / (k_bytes + n), kFewestRows, kMostRows);
  const std::int64_t blocks = ceil_div(m, fitting);
  const std::int64_t block_rows = round_up(ceil_div(m, blocks), kRowUnit);
  const std::int64_t row_tasks = ceil_div(m, block_rows);
  const std::int64_t shares = threads == 1 ? 1 : ceil_div(threads * kTasksPerThread, row_tasks);
  const std::int64_t columns = round_up(ceil_div(n, shares), kColumnUnit);
  const std::int64_t column_tasks = ceil_div(n, columns);

  const std::int64_t gathered_bytes = image == nullptr ? round_up(block_rows * a_stride, 64) : 0;
  std::uint8_t* memory = scratch(static_cast<std::size_t>(gathered_bytes * threads));
  const auto& kernel = select<GemmCodesS8Args>(active_isas());
  parallel_for(row_tasks * column_tasks, threads, [&](std::int64_t task, int worker) {
    const std::int64_t m0 = task / column_tasks * block_rows, n0 = task % column_tasks * columns;
    GemmCodesS8Args args;
    args.m = static_cast<std::int32_t>(std::min(block_rows, m - m0));
    if (image != nullptr) {
      args.a = image + m0 * a_stride;
    } else {
      std::uint8_t* const gathered = memory + worker * gathered_bytes;
      rows.gather(m0, args.m, 0, gathered, a_stride);
      args.a = reinterpret_cast<const std::int8_t*>(gathered);
    }
    args.a_stride = a_stride;
    args.k_groups = static_cast<std::int32_t>(weight.k_groups());
    args.b = weight.panel(n0 / Weight::kPanelWidth);
    args.b_panel_stride = weight.panel_stride();
    args.n = static_cast<std::int32_t>(std::min(columns, n - n0));
    args.offset = layer.offset + n0;
    args.weight_sum = weight.col_sum() + n0;
    args.negative_sum = layer.negative_sum + n0;
    args.multiplier = layer.multiplier + n0;
    args.low = layer.codes.low;
    args.high = layer.codes.high;
    args.zero_point = layer.codes.zero_point;
    args.out = out + m0 * stride + n0;
    args.out_stride = stride;
    kernel.run(args);
  });
}

}  // namespace octavo
