// SPDX-License-Identifier: Apache-2.0
#include "ops/attention_s8.h"

#include <algorithm>

#include "ops/attention_panels.h"
#include "ops/attention_rows.h"
#include "ops/work_split.h"

namespace octavo {
namespace {

// Multiply-adds one thread does in about 5 us.
constexpr std::int64_t kWorkPerThread = 400000;

// A task is some queries of the heads that share one of k and v; it packs that head for itself.
struct Plan {
  IsaMask isas;
  QuerySplit split;
  ScratchLayout memory;
  std::int64_t packed_at;
  RowPlan rows;

  Plan(const GroupedShape& grouped, int most, bool has_bias)
      : isas(active_isas()),
        split(most, grouped.heads.batch * grouped.kv_heads, grouped.heads.queries),
        packed_at(memory.add(PackedHead::bytes(grouped.heads.keys, grouped.heads.d, isas), 1)),
        rows(isas, grouped.heads.heads / grouped.kv_heads, split.part_queries, grouped.heads.keys,
             grouped.heads.d, has_bias, memory) {}
};

}  // namespace

void attention_s8(const GroupedShape& grouped, TokenRows q, TokenRows k, TokenRows v,
                  const AttentionExtras& extras, float scale, float* out) {
  const AttentionShape& shape = grouped.heads;
  if (shape.batch == 0 || shape.queries == 0 || shape.heads == 0 || shape.d == 0) return;
  const Plan plan(grouped, threads_for(shape.work(), kWorkPerThread), extras.bias.data != nullptr);
  const RowPlan& rows = plan.rows;
  const std::int64_t thread_bytes = plan.memory.bytes();
  std::uint8_t* memory =
      scratch(static_cast<std::size_t>(checked_mul(thread_bytes, plan.split.threads)));
  const std::int64_t tasks = shape.batch * grouped.kv_heads * plan.split.parts;
  parallel_for(tasks, plan.split.threads, [&](std::int64_t task, int worker) {
    const std::int64_t pair = task / plan.split.parts,
                       q0 = task % plan.split.parts * plan.split.part_queries;
    const std::int64_t b = pair / grouped.kv_heads, kv_head = pair % grouped.kv_heads;
    const std::int64_t width = shape.heads * shape.d, column = kv_head * rows.group * shape.d;
    std::uint8_t* own = memory + worker * thread_bytes;
    const std::int64_t queries = shape.length(b, shape.queries);
    const std::int64_t end = std::min(q0 + plan.split.part_queries, queries);
    if (q0 >= end) return;
    const std::int64_t row0 = shape.begin(b, shape.queries);
    PackedHead head(shape.length(b, shape.keys), shape.d, own + plan.packed_at, plan.isas);
    head.pack({shape.entry(k, b) + kv_head * shape.d, k.row_stride},
              {shape.entry(v, b) + kv_head * shape.d, v.row_stride},
              extras.mask ? extras.mask + shape.begin(b, shape.keys) : nullptr);
    const auto step_over = [&](std::int64_t first, std::int64_t last, int helper) {
      const std::int64_t i = q0 + first * rows.unit;
      const std::int64_t* seen = extras.key_ranges;
      if (seen != nullptr) seen += 2 * (i + (shape.offsets != nullptr ? row0 : 0));
      ScoreBias bias = extras.bias;
      if (bias.data != nullptr) {
        bias.data += kv_head * rows.group * bias.head_stride + i * bias.row_stride;
      }
      RowBlock block(rows, head, scratch_of(helper, own, thread_bytes));
      block.run(shape.entry(q, b) + i * q.row_stride + column, q.row_stride,
                std::min(q0 + last * rows.unit, end) - i, seen, bias, scale,
                out + (row0 + i) * width + column, width);
    };
    run_steps(ceil_div(end - q0, rows.unit), rows.rows / rows.group / rows.unit, step_over);
  });
}

}  // namespace octavo
