// SPDX-License-Identifier: Apache-2.0
#include "ops/attention_rows.h"

#include <algorithm>

#include "ops/work_split.h"

namespace octavo {
namespace {

constexpr std::int64_t kLanes = 16;  // queries that a kernel takes at once
// Rows that meet the keys and values of a block together; fewer where many blocks leave sums.
constexpr std::int64_t kRows = 64;
constexpr std::int64_t kSumBytes = std::int64_t{1} << 20;

}  // namespace

AttentionKernels::AttentionKernels(IsaMask isas)
    : quantize(&select<AttentionCodesArgs>(isas)),
      attend(&select<AttentionBlockArgs>(isas)),
      sum(&select<AttentionSumArgs>(isas)) {}

QuerySplit::QuerySplit(int most, std::int64_t pairs, std::int64_t queries)
    : threads(most),
      parts(query_parts(most, pairs, queries)),
      part_queries(ceil_div(queries, parts)) {
  parts = ceil_div(queries, part_queries);
  threads = static_cast<int>(std::min<std::int64_t>(threads, pairs * parts));
}

RowPlan::RowPlan(IsaMask isas, std::int64_t group_, std::int64_t queries, std::int64_t keys,
                 std::int64_t d, bool has_bias, ScratchLayout& memory)
    : kernels(isas), group(group_) {
  blocks = ceil_div(keys, kKeysPerBlock);
  d_pad = round_up(d, kLanes);
  const std::int64_t fitting = kSumBytes / std::max<std::int64_t>(1, checked_mul(blocks, d_pad, 4));
  const std::int64_t together =
      std::clamp<std::int64_t>(std::min(fitting, kRows) / group, 1, queries);
  unit = std::clamp<std::int64_t>(kLanes / group, 1, together);
  rows = checked_mul(round_up(together, unit), group);
  row_places = round_up(rows, kLanes);
  q_stride = d_pad / kernels.quantize->group_codes * kLanes;
  row_list_at = memory.add(rows, 8);
  q_at = memory.add(checked_mul(row_places / kLanes, q_stride), 4);
  factor_at = memory.add(row_places, 4);
  sums_at = memory.add(checked_mul(row_places, blocks, d_pad), 4);
  stats_at = memory.add(checked_mul(row_places, blocks, 3), 4);
  seen_at = memory.add(checked_mul(row_places, 2), 4);
  ScratchLayout block;
  work_at = block.add(kAttentionBlockWork, 4);
  keys_at = block.add(checked_mul(row_places, 2), 4);
  bias_at = block.add(has_bias ? checked_mul(row_places, kKeysPerBlock) : 0, 4);
  block_bytes = block.bytes();
  block_at = memory.add(block_bytes, 1);
}

RowBlock::RowBlock(const RowPlan& plan, const CodedHead& head, std::uint8_t* own)
    : plan_(plan),
      head_(head),
      row_list_(reinterpret_cast<std::int64_t*>(own + plan.row_list_at)),
      codes_(reinterpret_cast<std::int32_t*>(own + plan.q_at)),
      factor_(reinterpret_cast<float*>(own + plan.factor_at)),
      sums_(reinterpret_cast<std::int32_t*>(own + plan.sums_at)),
      stats_(reinterpret_cast<float*>(own + plan.stats_at)),
      seen_(reinterpret_cast<std::int32_t*>(own + plan.seen_at)),
      block_memory_(own + plan.block_at) {}

void RowBlock::run(const float* q, std::int64_t q_stride, std::int64_t queries,
                   const std::int64_t* key_ranges, const ScoreBias& bias, float scale, float* out,
                   std::int64_t out_stride) {
  rows_ = queries * plan_.group;
  row_places_ = round_up(rows_, kLanes);
  read_queries(q, q_stride, scale);
  if (key_ranges != nullptr) read_visible(key_ranges);
  // Of few rows that see much, blocks are what is shared with threads without a task.
  run_steps(head_.blocks(), 1, [&](std::int64_t first, std::int64_t last, int worker) {
    std::uint8_t* memory = scratch_of(worker, block_memory_, plan_.block_bytes);
    for (std::int64_t b = first; b < last; ++b) attend(b, key_ranges != nullptr, bias, memory);
  });
  // Biased scores are scaled already (kernels/attention_block/kernel.h).
  if (bias.data != nullptr) std::fill_n(factor_, rows_, 1.0f);
  write(queries, out, out_stride);
}

void RowBlock::read_queries(const float* q, std::int64_t q_stride, float scale) {
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
  plan_.kernels.quantize->run(args);
  for (std::int64_t i = 0; i < row_places_; ++i) factor_[i] = factor_[i] * scale * kLog2E;
}

// The visible keys of each row, as places in the packed head: first, then last. Those behind the
// last row see what it sees.
void RowBlock::read_visible(const std::int64_t* key_ranges) {
  for (std::int64_t row = 0; row < row_places_; ++row) {
    const std::int64_t* range = key_ranges + 2 * (std::min(row, rows_ - 1) / plan_.group);
    seen_[row] = static_cast<std::int32_t>(head_.place(range[0]));
    seen_[row_places_ + row] = static_cast<std::int32_t>(head_.place(range[1]));
  }
}

// The keys of a block that each row sees.
void RowBlock::read_seen(std::int64_t b, std::int32_t* first, std::int32_t* last) const {
  const std::int64_t begin = b * kKeysPerBlock, keys = head_.keys_of(b);
  for (std::int64_t i = 0; i < row_places_; ++i) {
    first[i] = static_cast<std::int32_t>(std::clamp<std::int64_t>(seen_[i] - begin, 0, keys));
    last[i] = static_cast<std::int32_t>(
        std::clamp<std::int64_t>(seen_[row_places_ + i] - begin, first[i], keys));
  }
}

// The biases of a block's keys, sixteen rows side by side.
void RowBlock::read_bias(std::int64_t b, const ScoreBias& bias, float* biases) const {
  for (std::int64_t i = 0; i < row_places_; ++i) {
    const std::int64_t row = std::min(i, rows_ - 1);
    const float* of_row =
        bias.data + row / plan_.group * bias.row_stride + row % plan_.group * bias.head_stride;
    float* out = biases + i / kLanes * kLanes * kKeysPerBlock + i % kLanes;
    for (std::int64_t j = 0; j < head_.keys_of(b); ++j)
      out[kLanes * j] = of_row[head_.key_at(b, j)];
  }
}

// The statistics and sums of block b.
void RowBlock::attend(std::int64_t b, bool has_ranges, const ScoreBias& bias,
                      std::uint8_t* memory) const {
  auto* first = reinterpret_cast<std::int32_t*>(memory + plan_.keys_at);
  std::int32_t* last = first + row_places_;
  auto* biases = reinterpret_cast<float*>(memory + plan_.bias_at);
  if (has_ranges) read_seen(b, first, last);
  if (bias.data != nullptr) read_bias(b, bias, biases);
  AttentionBlockArgs args;
  head_.describe(b, args);
  args.m = static_cast<std::int32_t>(rows_);
  args.queries = codes_;
  args.query_stride = plan_.q_stride;
  args.bias = bias.data != nullptr ? biases : nullptr;
  args.bias_stride = kLanes * kKeysPerBlock;
  args.first = has_ranges ? first : nullptr;
  args.last = has_ranges ? last : nullptr;
  args.factor = factor_;
  args.work = reinterpret_cast<float*>(memory + plan_.work_at);
  args.top = stats_ + b * plan_.row_places;
  args.sum = args.top + plan_.blocks * plan_.row_places;
  args.largest = args.sum + plan_.blocks * plan_.row_places;
  args.sums = sums_ + b * plan_.row_places * plan_.d_pad;
  plan_.kernels.attend->run(args);
}

void RowBlock::write(std::int64_t queries, float* out, std::int64_t out_stride) const {
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
    plan_.kernels.sum->run(args);
  }
}

}  // namespace octavo
