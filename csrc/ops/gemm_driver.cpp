// SPDX-License-Identifier: Apache-2.0
#include "ops/gemm_driver.h"

#include <algorithm>
#include <atomic>
#include <new>
#include <thread>

#include "dispatch/cpu_features.h"
#include "ops/code_rows.h"
#include "ops/scratch.h"
#include "ops/work_split.h"
#include "threads/interrupt.h"

namespace octavo {
namespace {

// Below this many multiply-adds a thread's share is not worth handing over (~2 us of work).
constexpr std::int64_t kWorkPerThread = 100000;
// From this many rows per thread on, or where the codes of all rows would not stay in L2, threads
// split rows and quantize their own; below, they split columns too, so that tasks are small.
constexpr std::int64_t kRowsPerThread = 256, kFewestRowsPerThread = 32;
// Rows of a task at least, if there are so many, and the share of a thread's rows at most.
constexpr std::int64_t kTaskRows = 32, kTasksPerThread = 8;
// A weight so many times as large as L2 is to be read once: all rows meet a chunk of it in turn.
constexpr std::int64_t kLargeWeight = 4;
// A block has as many rows as its kernel asks for, fewer where their codes would fill more than
// half of L2: they stay there while the weight streams past.
constexpr std::int64_t kFewestBlockRows = 16;
// Sums made before they become outputs: 96 KiB, a part of L2, so that rows of outputs are written
// in long stretches. 128x768x768: 170 us with 4 panels, 166 with 6, 163 with 12 (AVX-512); 594, 585
// and 574 us with 4, 8 and 16 (AVX2). Fewer where k is so long that the scalar tier would take more
// than 0.1 s, since a call asks between them whether it is interrupted.
constexpr std::int64_t kBlockSums = 24576;
constexpr std::int64_t kBlockWork = std::int64_t{1} << 27;

// Panels of a task at least.
constexpr std::int64_t kFewestPanels = 4;

// Panels cut into tasks of `chunk`, the last quarter into smaller ones.
class PanelTasks {
 public:
  PanelTasks() = default;
  PanelTasks(std::int64_t panels, std::int64_t chunk)
      : panels_(panels),
        chunk_(chunk),
        small_(chunk < 12 ? chunk : round_up(ceil_div(chunk, 3), kFewestPanels)),
        large_(panels * 3 / 4 / chunk) {}
  std::int64_t count() const { return large_ + ceil_div(panels_ - large_ * chunk_, small_); }
  std::int64_t begin(std::int64_t task) const {
    const std::int64_t behind = std::max<std::int64_t>(task - large_, 0);
    return std::min(panels_, (task - behind) * chunk_ + behind * small_);
  }

 private:
  std::int64_t panels_ = 0, chunk_ = 1, small_ = 1, large_ = 0;
};

// One of the products that read the same codes.
struct Part {
  Product product;
  Schedule schedule;
  PanelTasks tasks;
};
constexpr std::int64_t kMostParts = 4;

struct Plan {
  Part parts[kMostParts];
  std::int64_t part_count = 0;
  std::int64_t m, block_rows, row_blocks, column_tasks;
  std::int64_t code_stride, abs_offset, code_bytes, scale_bytes, info_bytes, block_bytes,
      sum_panels, sum_bytes, thread_bytes;  // a thread has its sums, then scratch
  int threads;
  bool split_rows;
  bool large_weight;  // is read once: blocks of rows are large, or take turns with each chunk

  Part* begin() { return parts; }
  Part* end() { return parts + part_count; }
  const Part* begin() const { return parts; }
  const Part* end() const { return parts + part_count; }
  // What is the same for all parts.
  const Schedule& schedule() const { return parts[0].schedule; }
  const Weight& weight() const { return *parts[0].product.weight; }
};

// Whether rows filled and prepared for one of them are what the other's kernels read.
bool same_codes(const Schedule& a, const Schedule& b) {
  return a.form == b.form && a.row_unit == b.row_unit && a.block_rows == b.block_rows &&
         a.even_blocks == b.even_blocks && a.fill_unit == b.fill_unit &&
         a.tile_bytes == b.tile_bytes && (a.tile_bytes == 0 || a.prepared_for != 0) &&
         a.prepared_for == b.prepared_for && a.groups == b.groups;
}

// Rows at a stride of a multiple of 4096 bytes would all fall into the same cache sets.
std::int64_t spread_stride(std::int64_t bytes) { return bytes % 1024 == 0 ? bytes + 64 : bytes; }

// Whole units of run_steps(), and even, since two panels share a GroupOrder.
std::int64_t panels_of_sums(const Schedule& schedule, std::int64_t block_rows, std::int64_t k) {
  const std::int64_t sums = std::min(kBlockSums, kBlockWork / std::max<std::int64_t>(k, 1));
  const std::int64_t most = std::max(schedule.panels_at_once, kFewestPanels);
  const std::int64_t fitting = sums / Weight::kPanelWidth / block_rows;
  return std::clamp<std::int64_t>(fitting, kFewestPanels, most) / kFewestPanels * kFewestPanels;
}

// As many of the products as the first one's codes are for.
void take_parts(Plan& plan, const Product* products, std::int64_t count) {
  const IsaMask isas = active_isas();
  for (; plan.part_count < std::min(count, kMostParts); ++plan.part_count) {
    const Product& product = products[plan.part_count];
    const Schedule schedule = product.weight->schedule(plan.m, isas);
    if (plan.part_count > 0 && !same_codes(plan.schedule(), schedule)) return;
    plan.parts[plan.part_count] = {product, schedule, {}};
  }
}

void plan_rows(Plan& plan) {
  const Schedule& schedule = plan.schedule();
  const std::int64_t k_pad = padded_k(plan.weight().k());
  plan.abs_offset = schedule.form == ActivationEncoding::kSignAbs ? spread_stride(k_pad) : 0;
  plan.code_stride = spread_stride(plan.abs_offset + k_pad);

  const auto half_l2 = static_cast<std::int64_t>(cpu_features().l2_bytes / 2);
  const std::int64_t fitting_rows = std::max(kFewestBlockRows, half_l2 / plan.code_stride);
  plan.block_rows = std::min(schedule.block_rows, fitting_rows);
  if (plan.threads > 1 && !(plan.split_rows && plan.large_weight)) {
    const std::int64_t share = plan.split_rows ? plan.m / (plan.threads * kTasksPerThread) : 0;
    plan.block_rows = std::min(plan.block_rows, std::max(share, kTaskRows));
  }
  if (schedule.even_blocks) {
    const std::int64_t shares = plan.split_rows ? plan.threads : 1;
    const std::int64_t rounds = ceil_div(plan.m, shares * plan.block_rows);
    plan.block_rows = round_up(ceil_div(plan.m, shares * rounds), schedule.row_unit);
  } else {
    plan.block_rows = std::min(plan.block_rows, round_up(plan.m, schedule.row_unit));
  }
  plan.row_blocks = ceil_div(plan.m, plan.block_rows);

  plan.code_bytes = plan.block_rows * plan.code_stride;
  plan.scale_bytes = round_up(plan.block_rows * schedule.groups * 4, 64);
  plan.info_bytes = plan.scale_bytes + round_up(plan.block_rows * 4, 64);
  plan.block_bytes = plan.code_bytes + plan.info_bytes + round_up(schedule.tile_bytes, 64);
}

void plan_columns(Plan& plan) {
  std::int64_t panels = 0;
  for (const Part& part : plan) panels += part.product.weight->panels();
  // 12 panels suit kernels that take 1, 2, 3 or 4 at a time.
  const std::int64_t shares_of_columns =
      plan.split_rows ? 1 : ceil_div(plan.threads * kTasksPerThread, plan.row_blocks);
  std::int64_t chunk = round_up(ceil_div(std::max<std::int64_t>(panels, 1), shares_of_columns), 4);
  if (chunk > 12) chunk = round_up(chunk, 12);

  std::int64_t scratch_bytes = 0;
  plan.sum_panels = chunk;
  plan.column_tasks = 0;
  for (Part& part : plan) {
    const Weight& weight = *part.product.weight;
    plan.sum_panels =
        std::min(plan.sum_panels, panels_of_sums(part.schedule, plan.block_rows, weight.k()));
    part.tasks = PanelTasks(weight.panels(), chunk);
    plan.column_tasks += part.tasks.count();
    scratch_bytes = std::max(scratch_bytes, part.schedule.scratch_bytes);
  }
  plan.sum_bytes = plan.block_rows * plan.sum_panels * Weight::kPanelWidth * 4;
  plan.thread_bytes = plan.sum_bytes + round_up(scratch_bytes, 64);
}

Plan make_plan(std::int64_t m, const Product* products, std::int64_t count) {
  Plan plan;
  plan.m = m;
  take_parts(plan, products, count);
  std::int64_t work = 0;
  for (const Part& part : plan) {
    work += std::max(part.schedule.work, part.product.weight->n() * 16);
  }
  plan.threads = threads_for(checked_mul(m, work), kWorkPerThread);
  const auto l2 = static_cast<std::int64_t>(cpu_features().l2_bytes);
  const bool stays = checked_mul(m, plan.weight().k()) <= l2;
  plan.split_rows =
      plan.threads == 1 || m >= plan.threads * (stays ? kRowsPerThread : kFewestRowsPerThread);
  plan.large_weight = static_cast<std::int64_t>(plan.weight().nbytes()) > kLargeWeight * l2;
  plan_rows(plan);
  plan_columns(plan);
  return plan;
}

CodeBlock code_block(const Plan& plan, std::uint8_t* memory) {
  CodeBlock block;
  block.form = plan.schedule().form;
  block.stride = plan.code_stride;
  block.abs_offset = plan.abs_offset;
  block.codes = memory;
  block.row_scale = reinterpret_cast<float*>(memory + plan.code_bytes);
  block.scale_stride = plan.block_rows;
  block.zero_point = reinterpret_cast<std::int32_t*>(memory + plan.code_bytes + plan.scale_bytes);
  block.tile = memory + plan.code_bytes + plan.info_bytes;
  block.scratch = nullptr;  // multiply() has the thread's
  return block;
}

std::int64_t fill_unit(const Schedule& schedule) {
  const bool eights = schedule.form == ActivationEncoding::kS8Eights;
  return std::max(schedule.fill_unit, eights ? kEightRows : 1);
}

// Rows [m0 + begin, m0 + end) of the block of `rows` that starts at row m0.
void fill(const Plan& plan, const RowSource& source, const CodeBlock& block, std::int64_t m0,
          std::int64_t rows, std::int64_t begin, std::int64_t end) {
  CodeBlock part = block;
  part.codes += begin * block.stride;
  part.row_scale += begin;
  part.zero_point += begin;
  source.fill(m0 + begin, end - begin, part);
  if (block.form == ActivationEncoding::kS8Eights) {
    transpose_eights(block, begin, end, plan.weight().k());
  }
  plan.weight().prepare(plan.schedule(), block, rows, begin, end);
}

// Rows [m0, m0 + rows), whose codes are in `block`, times panels [begin, end) of a part.
void multiply(const Plan& plan, const Part& part, const CodeBlock& block, std::int64_t m0,
              std::int64_t rows, std::int64_t begin, std::int64_t end, std::uint8_t* own) {
  const Weight& weight = *part.product.weight;
  const std::int64_t stride = plan.sum_panels * Weight::kPanelWidth;
  const auto step = [&](std::int64_t first, std::int64_t last, int worker) {
    std::uint8_t* memory = scratch_of(worker, own, plan.thread_bytes);
    auto* sums = reinterpret_cast<std::int32_t*>(memory);
    CodeBlock codes = block;
    codes.scratch = memory + plan.sum_bytes;
    const std::int64_t p = begin + first * kFewestPanels;
    const std::int64_t panels = std::min(begin + last * kFewestPanels, end) - p;
    weight.multiply(part.schedule, codes, rows, p, panels, sums, stride);
    const std::int64_t n0 = p * Weight::kPanelWidth;
    const std::int64_t columns = std::min(panels * Weight::kPanelWidth, weight.n() - n0);
    part.product.sink->take({sums, weight.group() != 0, stride, m0, rows, n0, columns, &codes});
  };
  run_steps(ceil_div(end - begin, kFewestPanels), plan.sum_panels / kFewestPanels, step);
}

// Each task quantizes a block of rows and multiplies it with all of the weights.
void run_by_rows(const Plan& plan, const RowSource& source) {
  const std::int64_t per_thread = plan.block_bytes + plan.thread_bytes;
  std::uint8_t* memory = scratch(static_cast<std::size_t>(per_thread * plan.threads));
  parallel_for(plan.row_blocks, plan.threads, [&](std::int64_t task, int worker) {
    std::uint8_t* own = memory + worker * per_thread;
    const CodeBlock block = code_block(plan, own);
    const std::int64_t m0 = task * plan.block_rows;
    const std::int64_t rows = std::min(plan.block_rows, plan.m - m0);
    fill(plan, source, block, m0, rows, 0, rows);
    for (const Part& part : plan) {
      const std::int64_t panels = part.product.weight->panels();
      multiply(plan, part, block, m0, rows, 0, panels, own + plan.block_bytes);
    }
  });
}

// Whether the rows of a block are filled; a line of its own.
struct alignas(64) BlockState {
  enum : std::uint32_t { kEmpty, kFilling, kFilled };
  std::atomic<std::uint32_t> state{kEmpty};

  // Who comes first fills; others wait, for what one thread does in some microseconds.
  template <class Fill>
  void fill_once(const Fill& fill_block) {
    std::uint32_t seen = state.load(std::memory_order_acquire);
    if (seen == kEmpty && state.compare_exchange_strong(seen, kFilling)) {
      const Finally filled{state};
      fill_block();
      return;
    }
    while (state.load(std::memory_order_acquire) != kFilled) std::this_thread::yield();
  }

 private:
  struct Finally {
    std::atomic<std::uint32_t>& state;
    ~Finally() { state.store(kFilled, std::memory_order_release); }
  };
};

// A task multiplies a block of rows with a few panels; who comes to a block first quantizes it. Few
// blocks, and those that a large weight meets in turn, are quantized by all threads before.
void run_by_columns(const Plan& plan, const RowSource& source) {
  const std::int64_t states_at = round_up(plan.block_bytes * plan.row_blocks, 64);
  const auto state_bytes = static_cast<std::int64_t>(sizeof(BlockState));
  const std::int64_t own_at = states_at + plan.row_blocks * state_bytes;
  std::uint8_t* memory =
      scratch(static_cast<std::size_t>(own_at + plan.threads * plan.thread_bytes));
  const auto rows_of = [&](std::int64_t block) {
    return std::min(plan.block_rows, plan.m - block * plan.block_rows);
  };
  // Rows [cut(part), cut(part + 1)) of `parts` of a block.
  const auto fill_part = [&](std::int64_t block_index, std::int64_t part, std::int64_t parts) {
    const CodeBlock block = code_block(plan, memory + block_index * plan.block_bytes);
    const std::int64_t rows = rows_of(block_index), unit = fill_unit(plan.schedule());
    const auto cut = [&](std::int64_t i) {
      return std::min(rows, round_up(rows * i / parts, unit));
    };
    fill(plan, source, block, block_index * plan.block_rows, rows, cut(part), cut(part + 1));
  };
  const bool before = plan.row_blocks < plan.threads || plan.large_weight;
  if (before) {  // quarters, so that one block feeds four threads; small ones stay here
    const std::int64_t parts = plan.m * plan.weight().k() < 16384 ? 1 : 4;
    parallel_for(plan.row_blocks * parts, parts == 1 ? 1 : plan.threads,
                 [&](std::int64_t task, int) { fill_part(task / parts, task % parts, parts); });
  }
  auto* states = reinterpret_cast<BlockState*>(memory + states_at);
  for (std::int64_t i = 0; i < plan.row_blocks; ++i) new (states + i) BlockState;
  parallel_for(plan.column_tasks * plan.row_blocks, plan.threads,
               [&](std::int64_t task, int worker) {
                 const std::int64_t block_index =
                     plan.large_weight ? task % plan.row_blocks : task / plan.column_tasks;
                 if (!before) states[block_index].fill_once([&] { fill_part(block_index, 0, 1); });
                 const CodeBlock block = code_block(plan, memory + block_index * plan.block_bytes);
                 std::uint8_t* own = memory + own_at + worker * plan.thread_bytes;
                 const Part* part = plan.begin();
                 std::int64_t columns =
                     plan.large_weight ? task / plan.row_blocks : task % plan.column_tasks;
                 for (; columns >= part->tasks.count(); ++part) columns -= part->tasks.count();
                 multiply(plan, *part, block, block_index * plan.block_rows, rows_of(block_index),
                          part->tasks.begin(columns), part->tasks.begin(columns + 1), own);
               });
}

}  // namespace

void run_gemm(std::int64_t m, const Product* products, std::int64_t count,
              const RowSource& source) {
  if (m == 0) return;
  while (count > 0) {
    const Plan plan = make_plan(m, products, count);
    if (plan.split_rows) {
      run_by_rows(plan, source);
    } else {
      run_by_columns(plan, source);
    }
    products += plan.part_count;
    count -= plan.part_count;
  }
}

}  // namespace octavo
