// SPDX-License-Identifier: Apache-2.0
#include "ops/attention_s8.h"

#include <algorithm>

#include "dispatch/registry.h"
#include "ops/attention_panels.h"
#include "ops/scratch.h"
#include "ops/work_split.h"
#include "threads/interrupt.h"

namespace octavo {
namespace {

// Multiply-adds one thread does in about 5 us.
constexpr std::int64_t kWorkPerThread = 400000;
constexpr std::int64_t kLanes = 16;  // queries that a kernel takes at once
// Rows that meet the keys and values of a block together; fewer where many blocks leave sums.
constexpr std::int64_t kRows = 64;
constexpr std::int64_t kSumBytes = std::int64_t{1} << 20;

// A task is some queries of the heads that share one of k and v; it packs that head for itself.
struct Plan {
  IsaMask isas;  // read once: codes of one tier mean something else to another's kernels
  const KernelRow<AttentionCodesArgs>* quantize;
  const KernelRow<AttentionBlockArgs>* attend;
  const KernelRow<AttentionSumArgs>* sum;
  int threads;
  std::int64_t group;  // heads of q to one of k
  std::int64_t parts, part_queries;
  std::int64_t unit;              // queries that may be shared with threads without a task
  std::int64_t rows, row_places;  // of q at a time; rounded up to whole panels
  std::int64_t blocks, d_pad, q_stride;
  std::int64_t packed_at, row_list_at, q_at, factor_at, work_at, sums_at, stats_at, seen_at,
      bias_at, thread_bytes;
};

Plan make_plan(const GroupedShape& grouped, bool has_bias) {
  const AttentionShape& shape = grouped.heads;
  Plan plan;
  plan.group = shape.heads / grouped.kv_heads;
  plan.threads = threads_for(shape.work(), kWorkPerThread);
  const std::int64_t pairs = shape.batch * grouped.kv_heads;
  const std::int64_t parts = query_parts(plan.threads, pairs, shape.queries);
  plan.part_queries = ceil_div(shape.queries, parts);
  plan.parts = ceil_div(shape.queries, plan.part_queries);
  plan.threads = static_cast<int>(std::min<std::int64_t>(plan.threads, pairs * plan.parts));

  plan.blocks = ceil_div(shape.keys, kKeysPerBlock);
  plan.d_pad = round_up(shape.d, kLanes);
  const std::int64_t fitting =
      kSumBytes / std::max<std::int64_t>(1, checked_mul(plan.blocks, plan.d_pad, 4));
  const std::int64_t queries =
      std::clamp<std::int64_t>(std::min(fitting, kRows) / plan.group, 1, plan.part_queries);
  plan.unit = std::clamp<std::int64_t>(kLanes / plan.group, 1, queries);
  plan.rows = checked_mul(round_up(queries, plan.unit), plan.group);
  plan.row_places = round_up(plan.rows, kLanes);

  plan.isas = active_isas();
  plan.quantize = &select<AttentionCodesArgs>(plan.isas);
  plan.attend = &select<AttentionBlockArgs>(plan.isas);
  plan.sum = &select<AttentionSumArgs>(plan.isas);
  plan.q_stride = plan.d_pad / plan.quantize->group_codes * kLanes;
  ScratchLayout memory;
  plan.packed_at = memory.add(PackedHead::bytes(shape.keys, shape.d, plan.isas), 1);
  plan.row_list_at = memory.add(plan.rows, 8);
  plan.q_at = memory.add(checked_mul(plan.row_places / kLanes, plan.q_stride), 4);
  plan.factor_at = memory.add(plan.row_places, 4);
  plan.work_at = memory.add(kAttentionBlockWork, 4);
  plan.sums_at = memory.add(checked_mul(plan.row_places, plan.blocks, plan.d_pad), 4);
  plan.stats_at = memory.add(checked_mul(plan.row_places, plan.blocks, 3), 4);
  plan.seen_at = memory.add(checked_mul(plan.row_places, 4), 4);
  plan.bias_at = memory.add(has_bias ? checked_mul(plan.row_places, kKeysPerBlock) : 0, 4);
  plan.thread_bytes = memory.bytes();
  return plan;
}

// Some rows of q against a packed head. A row is a query and one of `group` heads, the heads of a
// query side by side.
class RowBlock {
 public:
  RowBlock(const Plan& plan, const PackedHead& head, std::uint8_t* own)
      : plan_(plan),
        head_(head),
        row_list_(reinterpret_cast<std::int64_t*>(own + plan.row_list_at)),
        codes_(reinterpret_cast<std::int32_t*>(own + plan.q_at)),
        factor_(reinterpret_cast<float*>(own + plan.factor_at)),
        work_(reinterpret_cast<float*>(own + plan.work_at)),
        sums_(reinterpret_cast<std::int32_t*>(own + plan.sums_at)),
        stats_(reinterpret_cast<float*>(own + plan.stats_at)),
        seen_(reinterpret_cast<std::int32_t*>(own + plan.seen_at)),
        bias_(reinterpret_cast<float*>(own + plan.bias_at)) {}

  // All pointers: the first head of the first query.
  void run(const float* q, std::int64_t q_stride, std::int64_t queries,
           const std::int64_t* key_ranges, const ScoreBias& bias, float scale, float* out,
           std::int64_t out_stride) {
    rows_ = queries * plan_.group;
    row_places_ = round_up(rows_, kLanes);
    read_queries(q, q_stride, scale);
    if (key_ranges != nullptr) read_visible(key_ranges);
    for (std::int64_t b = 0; b < head_.blocks(); ++b) attend(b, key_ranges != nullptr, bias);
    // Biased scores are scaled already (kernels/attention_block/kernel.h).
    if (bias.data != nullptr) std::fill_n(factor_, rows_, 1.0f);
    write(queries, out, out_stride);
  }

 private:
  void read_queries(const float* q, std::int64_t q_stride, float scale) {
    const bool listed = plan_.group > 1;
    for (std::int64_t row = 0; listed && row < rows_; ++row) {
      row_list_[row] = row / plan_.group * q_stride + row % plan_.group * head_.d();
    }
    AttentionCodesArgs args;
    args.x = q;
    args.x_stride = q_stride;
    args.row_list = listed ? row_list_ : nullptr;
    args.m = static_cast<std::int32_t>(rows_);
    args.d = static_cast<std::int32_t>(head_.d());
    args.operand = AttentionOperand::kQueries;
    args.groups = codes_;
    args.panel_stride = plan_.q_stride;
    args.scale = factor_;
    args.start = nullptr;
    plan_.quantize->run(args);
    for (std::int64_t i = 0; i < row_places_; ++i) factor_[i] = factor_[i] * scale * kLog2E;
  }

  // The visible keys of each row, as places in the packed head: first, then last. Those behind the
  // last row see what it sees.
  void read_visible(const std::int64_t* key_ranges) {
    for (std::int64_t row = 0; row < row_places_; ++row) {
      const std::int64_t* range = key_ranges + 2 * (std::min(row, rows_ - 1) / plan_.group);
      seen_[row] = static_cast<std::int32_t>(head_.place(range[0]));
      seen_[row_places_ + row] = static_cast<std::int32_t>(head_.place(range[1]));
    }
  }

  // The keys of a block that each row sees.
  void read_seen(std::int64_t b, std::int32_t* first, std::int32_t* last) const {
    const std::int64_t begin = b * kKeysPerBlock, keys = head_.keys_of(b);
    for (std::int64_t i = 0; i < row_places_; ++i) {
      first[i] = static_cast<std::int32_t>(std::clamp<std::int64_t>(seen_[i] - begin, 0, keys));
      last[i] = static_cast<std::int32_t>(
          std::clamp<std::int64_t>(seen_[row_places_ + i] - begin, first[i], keys));
    }
  }

  // The biases of a block's keys, sixteen rows side by side.
  void read_bias(std::int64_t b, const ScoreBias& bias) const {
    for (std::int64_t i = 0; i < row_places_; ++i) {
      const std::int64_t row = std::min(i, rows_ - 1);
      const float* of_row =
          bias.data + row / plan_.group * bias.row_stride + row % plan_.group * bias.head_stride;
      float* out = bias_ + i / kLanes * kLanes * kKeysPerBlock + i % kLanes;
      for (std::int64_t j = 0; j < head_.keys_of(b); ++j)
        out[kLanes * j] = of_row[head_.key_at(b, j)];
    }
  }

  // The statistics and sums of block b.
  void attend(std::int64_t b, bool has_ranges, const ScoreBias& bias) {
    std::int32_t* first = seen_ + 2 * row_places_;
    std::int32_t* last = first + row_places_;
    if (has_ranges) read_seen(b, first, last);
    if (bias.data != nullptr) read_bias(b, bias);
    AttentionBlockArgs args;
    head_.describe(b, args);
    args.m = static_cast<std::int32_t>(rows_);
    args.queries = codes_;
    args.query_stride = plan_.q_stride;
    args.bias = bias.data != nullptr ? bias_ : nullptr;
    args.bias_stride = kLanes * kKeysPerBlock;
    args.first = has_ranges ? first : nullptr;
    args.last = has_ranges ? last : nullptr;
    args.factor = factor_;
    args.work = work_;
    args.top = stats_ + b * plan_.row_places;
    args.sum = args.top + plan_.blocks * plan_.row_places;
    args.largest = args.sum + plan_.blocks * plan_.row_places;
    args.sums = sums_ + b * plan_.row_places * plan_.d_pad;
    plan_.attend->run(args);
  }

  void write(std::int64_t queries, float* out, std::int64_t out_stride) const {
    const bool at_once = plan_.group == 1;
    AttentionSumArgs args;
    args.m = static_cast<std::int32_t>(at_once ? queries : plan_.group);
    args.d = static_cast<std::int32_t>(head_.d());
    args.blocks = static_cast<std::int32_t>(head_.blocks());
    args.sums_stride = plan_.d_pad;
    args.block_rows = plan_.row_places;
    args.out_stride = at_once ? out_stride : head_.d();
    for (std::int64_t row = 0; row < rows_; row += args.m) {
      args.sums = sums_ + row * plan_.d_pad;
      args.top = stats_ + row;
      args.sum = args.top + plan_.blocks * plan_.row_places;
      args.largest = args.sum + plan_.blocks * plan_.row_places;
      args.factor = factor_ + row;
      args.out = out + row / plan_.group * out_stride;
      plan_.sum->run(args);
    }
  }

  const Plan& plan_;
  const PackedHead& head_;
  std::int64_t* row_list_;  // where rows begin if heads share keys
  std::int32_t* codes_;
  float* factor_;  // the scales of q at first
  float* work_;
  std::int32_t* sums_;
  float* stats_;  // top, sum and largest of all blocks
  std::int32_t* seen_;
  float* bias_;
  std::int64_t rows_ = 0, row_places_ = 0;
};

}  // namespace

void attention_s8(const GroupedShape& grouped, TokenRows q, TokenRows k, TokenRows v,
                  const AttentionExtras& extras, float scale, float* out) {
  const AttentionShape& shape = grouped.heads;
  if (shape.batch == 0 || shape.queries == 0 || shape.heads == 0 || shape.d == 0) return;
  const Plan plan = make_plan(grouped, extras.bias.data != nullptr);
  std::uint8_t* memory =
      scratch(static_cast<std::size_t>(checked_mul(plan.thread_bytes, plan.threads)));
  const std::int64_t tasks = shape.batch * grouped.kv_heads * plan.parts;
  parallel_for(tasks, plan.threads, [&](std::int64_t task, int worker) {
    const std::int64_t pair = task / plan.parts, q0 = task % plan.parts * plan.part_queries;
    const std::int64_t b = pair / grouped.kv_heads, kv_head = pair % grouped.kv_heads;
    const std::int64_t width = shape.heads * shape.d, column = kv_head * plan.group * shape.d;
    std::uint8_t* own = memory + worker * plan.thread_bytes;
    const std::int64_t queries = shape.length(b, shape.queries);
    const std::int64_t end = std::min(q0 + plan.part_queries, queries);
    if (q0 >= end) return;
    const std::int64_t row0 = shape.begin(b, shape.queries);
    PackedHead head(shape.length(b, shape.keys), shape.d, own + plan.packed_at, plan.isas);
    head.pack({shape.entry(k, b) + kv_head * shape.d, k.row_stride},
              {shape.entry(v, b) + kv_head * shape.d, v.row_stride},
              extras.mask ? extras.mask + shape.begin(b, shape.keys) : nullptr);
    const auto step_over = [&](std::int64_t first, std::int64_t last, int helper) {
      const std::int64_t i = q0 + first * plan.unit;
      const std::int64_t* seen = extras.key_ranges;
      if (seen != nullptr) seen += 2 * (i + (shape.offsets != nullptr ? row0 : 0));
      ScoreBias bias = extras.bias;
      if (bias.data != nullptr) {
        bias.data += kv_head * plan.group * bias.head_stride + i * bias.row_stride;
      }
      RowBlock block(plan, head, scratch_of(helper, own, plan.thread_bytes));
      block.run(shape.entry(q, b) + i * q.row_stride + column, q.row_stride,
                std::min(q0 + last * plan.unit, end) - i, seen, bias, scale,
                out + (row0 + i) * width + column, width);
    };
    run_steps(ceil_div(end - q0, plan.unit), plan.rows / plan.group / plan.unit, step_over);
  });
}

}  // namespace octavo
