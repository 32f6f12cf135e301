// SPDX-License-Identifier: Apache-2.0
#include "ops/attention.h"

#include <algorithm>
#include <cstring>

#include "dispatch/registry.h"
#include "ops/scratch.h"
#include "ops/work_split.h"
#include "threads/interrupt.h"

namespace octavo {
namespace {

// Multiply-adds one thread does in about 5 us.
constexpr std::int64_t kWorkPerThread = 100000;
// At most so many if their biases are packed too, which takes scratch for each.
constexpr std::int64_t kQueriesWithBias = 16 * kAttentionRows;
constexpr std::int64_t kLanes = 16;
// Queries that threads without a task take of another's, and how many times as many it does before
// it looks for such threads.
constexpr std::int64_t kUnitQueries = 2 * kAttentionRows, kUnitsAtOnce = 4;
// Multiply-adds between two questions whether the call is interrupted: 0.1 ms, or 50 ms scalar.
constexpr std::int64_t kWorkPerQuestion = std::int64_t{1} << 22;

// A task is some queries of one head; it packs that head's keys and values for itself.
struct Plan {
  int threads;
  std::int64_t parts;         // of the queries of a head
  std::int64_t part_queries;  // a multiple of kAttentionRows
  std::int64_t n_pad, d_pad;
  std::int64_t k_at, v_at, scores_at, bias_at, thread_bytes;  // a thread's part of the scratch
};

Plan make_plan(const AttentionShape& shape, bool has_bias) {
  Plan plan;
  plan.threads = threads_for(shape.work(), kWorkPerThread);
  const std::int64_t pairs = shape.batch * shape.heads;
  const std::int64_t parts = query_parts(plan.threads, pairs, shape.queries);
  plan.part_queries = round_up(ceil_div(shape.queries, parts), kAttentionRows);
  if (has_bias) plan.part_queries = std::min(plan.part_queries, kQueriesWithBias);
  plan.parts = ceil_div(shape.queries, plan.part_queries);
  // Threads without a task need no scratch.
  plan.threads = static_cast<int>(std::min<std::int64_t>(plan.threads, pairs * plan.parts));
  plan.n_pad = round_up(shape.keys, kLanes);
  plan.d_pad = round_up(shape.d, kLanes);
  ScratchLayout memory;
  memory.add(shape.keys, sizeof(std::int64_t));  // the list of valid keys
  plan.k_at = memory.add(checked_mul(plan.n_pad, shape.d), sizeof(float));
  plan.v_at = memory.add(checked_mul(shape.keys, plan.d_pad), sizeof(float));
  plan.scores_at = memory.add(checked_mul(kAttentionRows, plan.n_pad), sizeof(float));
  const std::int64_t bias_rows = has_bias ? plan.part_queries : 0;
  plan.bias_at = memory.add(checked_mul(bias_rows, plan.n_pad), sizeof(float));
  plan.thread_bytes = memory.bytes();
  return plan;
}

// Panels of 16 keys, as d groups of one float per key (kernels/attention/kernel.h).
void pack_keys(const float* k, std::int64_t stride, const std::int64_t* list, std::int64_t n,
               std::int64_t d, float* panels) {
  for (std::int64_t j0 = 0; j0 < n; j0 += kLanes) {
    float* panel = panels + j0 * d;
    const std::int64_t count = std::min(kLanes, n - j0);
    if (count < kLanes) std::memset(panel, 0, static_cast<std::size_t>(d * kLanes) * sizeof(float));
    for (std::int64_t j = 0; j < count; ++j) {
      const float* row = k + list[j0 + j] * stride;
      for (std::int64_t e = 0; e < d; ++e) panel[e * kLanes + j] = row[e];
    }
  }
}

// Panels of 16 columns, as n groups of one float per column.
void pack_values(const float* v, std::int64_t stride, const std::int64_t* list, std::int64_t n,
                 std::int64_t d, float* panels) {
  for (std::int64_t e0 = 0; e0 < d; e0 += kLanes) {
    float* panel = panels + e0 * n;
    const std::int64_t count = std::min(kLanes, d - e0);
    for (std::int64_t j = 0; j < n; ++j) {
      const float* row = v + list[j] * stride + e0;
      for (std::int64_t e = 0; e < count; ++e) panel[j * kLanes + e] = row[e];
      for (std::int64_t e = count; e < kLanes; ++e) panel[j * kLanes + e] = 0.0f;
    }
  }
}

// Rows of n biases of the valid keys, padded with zeros to whole panels.
void pack_bias(const float* bias, std::int64_t stride, std::int64_t rows, const std::int64_t* list,
               std::int64_t n, float* packed) {
  const std::int64_t n_pad = round_up(n, kLanes);
  for (std::int64_t i = 0; i < rows; ++i, bias += stride, packed += n_pad) {
    for (std::int64_t j = 0; j < n; ++j) packed[j] = bias[list[j]];
    std::fill(packed + n, packed + n_pad, 0.0f);
  }
}

void zero_rows(float* out, std::int64_t rows, std::int64_t stride, std::int64_t d) {
  for (std::int64_t i = 0; i < rows; ++i) std::fill_n(out + i * stride, d, 0.0f);
}

void run_rows(const KernelRow<AttentionArgs>& kernel, const AttentionArgs& args) {
  const std::int64_t fitting = ceil_div(kWorkPerQuestion, 2 * args.n * args.d * kUnitQueries);
  const std::int64_t n_pad = round_up(args.n, kLanes);
  const auto step = [&](std::int64_t first, std::int64_t last, int worker) {
    const std::int64_t i = first * kUnitQueries;
    AttentionArgs part = args;
    part.m = std::min(last * kUnitQueries, args.m) - i;
    part.q += i * args.q_stride;
    part.out += i * args.out_stride;
    if (args.bias != nullptr) part.bias += i * n_pad;
    auto* scores = reinterpret_cast<std::uint8_t*>(args.scores);
    const std::int64_t bytes = kAttentionRows * n_pad * static_cast<std::int64_t>(sizeof(float));
    part.scores = reinterpret_cast<float*>(scratch_of(worker, scores, bytes));
    kernel.run(part);
  };
  run_steps(ceil_div(args.m, kUnitQueries), std::min(fitting, kUnitsAtOnce), step);
}

}  // namespace

std::int64_t list_keys(const std::uint8_t* mask, std::int64_t keys, std::int64_t* list) {
  std::int64_t n = 0;
  for (std::int64_t j = 0; j < keys; ++j) {
    list[n] = j;
    n += mask == nullptr || mask[j] != 0 ? 1 : 0;
  }
  return n;
}

void attention(const AttentionShape& shape, TokenRows q, TokenRows k, TokenRows v,
               const std::uint8_t* mask, ScoreBias bias, float scale, float* out) {
  if (shape.batch == 0 || shape.queries == 0 || shape.heads == 0 || shape.d == 0) return;
  const KernelRow<AttentionArgs>& kernel = select<AttentionArgs>(active_isas());
  const Plan plan = make_plan(shape, bias.data != nullptr);
  std::uint8_t* memory =
      scratch(static_cast<std::size_t>(checked_mul(plan.thread_bytes, plan.threads)));
  const std::int64_t tasks = shape.batch * shape.heads * plan.parts;
  parallel_for(tasks, plan.threads, [&](std::int64_t task, int worker) {
    const std::int64_t pair = task / plan.parts, q0 = task % plan.parts * plan.part_queries;
    const std::int64_t b = pair / shape.heads, head = pair % shape.heads, column = head * shape.d;
    std::uint8_t* own = memory + worker * plan.thread_bytes;
    auto* list = reinterpret_cast<std::int64_t*>(own);
    auto* k_panels = reinterpret_cast<float*>(own + plan.k_at);
    auto* v_panels = reinterpret_cast<float*>(own + plan.v_at);

    AttentionArgs args;
    args.q = shape.entry(q, b) + q0 * q.row_stride + column;
    args.q_stride = q.row_stride;
    args.m = std::min(plan.part_queries, shape.length(b, shape.queries) - q0);
    if (args.m <= 0) return;
    args.out_stride = shape.heads * shape.d;
    args.out = out + (shape.begin(b, shape.queries) + q0) * args.out_stride + column;
    const std::uint8_t* valid = mask ? mask + shape.begin(b, shape.keys) : nullptr;
    args.n = list_keys(valid, shape.length(b, shape.keys), list);
    if (args.n == 0) {
      zero_rows(args.out, args.m, args.out_stride, shape.d);
      return;
    }
    args.d = shape.d;
    pack_keys(shape.entry(k, b) + column, k.row_stride, list, args.n, args.d, k_panels);
    pack_values(shape.entry(v, b) + column, v.row_stride, list, args.n, args.d, v_panels);
    args.k_panels = k_panels;
    args.v_panels = v_panels;
    args.scale = scale;
    args.bias = nullptr;
    if (bias.data != nullptr) {
      auto* packed = reinterpret_cast<float*>(own + plan.bias_at);
      pack_bias(bias.data + head * bias.head_stride + q0 * bias.row_stride, bias.row_stride, args.m,
                list, args.n, packed);
      args.bias = packed;
    }
    args.scores = reinterpret_cast<float*>(own + plan.scores_at);
    run_rows(kernel, args);
  });
}

}  // namespace octavo
