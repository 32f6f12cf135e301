// SPDX-License-Identifier: Apache-2.0
#include "ops/attention_s8.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "dispatch/registry.h"
#include "ops/attention_panels.h"
#include "ops/scratch.h"
#include "ops/work_split.h"
#include "threads/interrupt.h"

namespace octavo {
namespace {

// Multiply-adds one thread does in about 5 us.
constexpr std::int64_t kWorkPerThread = 400000;
// Rows whose scores of a block are in L2 together (128 KiB); fewer where many blocks leave sums.
constexpr std::int64_t kRows = 64;
constexpr std::int64_t kSumBytes = std::int64_t{1} << 20;

// A task is some queries of the heads that share one of k and v; it packs that head for itself.
struct Plan {
  IsaMask isas;  // read once: codes of one tier's form mean something else to another's kernels
  const GemmS8Row* product;
  const KernelRow<AttentionWeightsArgs>* weights;
  const KernelRow<AttentionSumArgs>* sum;
  const KernelRow<AttentionCodesArgs>* quantize;
  int threads;
  std::int64_t group;  // heads of q to one of k
  std::int64_t parts, part_queries;
  std::int64_t rows;  // of q at a time
  std::int64_t blocks, d_pad, q_stride, weight_stride, abs_of_q, abs_of_weights;
  std::int64_t packed_at, q_at, factor_at, scores_at, weights_at, sums_at, stats_at, seen_at,
      bias_at, thread_bytes;
};

std::int64_t code_stride(std::int64_t k, ActivationEncoding form) {
  return round_up(k, 64) * (form == ActivationEncoding::kSignAbs ? 2 : 1);
}

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
  plan.d_pad = round_up(shape.d, 16);
  const std::int64_t fitting =
      kSumBytes / std::max<std::int64_t>(1, checked_mul(plan.blocks, plan.d_pad, 4));
  const std::int64_t queries = std::max<std::int64_t>(1, std::min(fitting, kRows) / plan.group);
  plan.rows = checked_mul(std::min(plan.part_queries, queries), plan.group);

  plan.isas = active_isas();
  plan.product = &select<GemmS8Args>(plan.isas, plan.rows);
  plan.weights = &select<AttentionWeightsArgs>(plan.isas);
  plan.sum = &select<AttentionSumArgs>(plan.isas);
  plan.quantize = &select<AttentionCodesArgs>(plan.isas);
  const std::int64_t rows = round_up(plan.rows, plan.product->m_align);
  plan.abs_of_q = round_up(shape.d, 64);
  plan.abs_of_weights = kKeysPerBlock;
  plan.q_stride = code_stride(shape.d, plan.product->form);
  plan.weight_stride = code_stride(kKeysPerBlock, plan.product->form);
  ScratchLayout memory;
  plan.packed_at = memory.add(PackedHead::bytes(shape.keys, shape.d), 1);
  plan.q_at = memory.add(checked_mul(rows, plan.q_stride), 1);
  plan.factor_at = memory.add(rows, 4);
  plan.scores_at = memory.add(checked_mul(rows, kKeysPerBlock), 4);
  plan.weights_at = memory.add(checked_mul(rows, plan.weight_stride), 1);
  plan.sums_at = memory.add(checked_mul(rows, plan.blocks, plan.d_pad), 4);
  plan.stats_at = memory.add(checked_mul(rows, plan.blocks, 3), 4);
  plan.seen_at = memory.add(checked_mul(rows, 4), 4);
  plan.bias_at = memory.add(has_bias ? checked_mul(rows, kKeysPerBlock) : 0, 4);
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
        codes_(own + plan.q_at),
        factor_(reinterpret_cast<float*>(own + plan.factor_at)),
        scores_(reinterpret_cast<std::int32_t*>(own + plan.scores_at)),
        weights_(own + plan.weights_at),
        sums_(reinterpret_cast<std::int32_t*>(own + plan.sums_at)),
        stats_(reinterpret_cast<float*>(own + plan.stats_at)),
        seen_(reinterpret_cast<std::int32_t*>(own + plan.seen_at)),
        bias_(reinterpret_cast<float*>(own + plan.bias_at)) {
    // Codes come in whole groups, and tiles read sixteen.
    std::memset(codes_, 0, static_cast<std::size_t>(plan.rows * plan.q_stride));
  }

  // All pointers: the first head of the first query.
  void run(const float* q, std::int64_t q_stride, std::int64_t queries,
           const std::int64_t* key_ranges, const ScoreBias& bias, float scale, float* out,
           std::int64_t out_stride) {
    rows_ = queries * plan_.group;
    read_queries(q, q_stride, queries, scale);
    read_visible(key_ranges, queries);
    for (std::int64_t b = 0; b < head_.blocks(); ++b) attend(b, bias);
    // Biased scores are scaled already (kernels/attention_weights/kernel.h).
    if (bias.data != nullptr) std::fill_n(factor_, rows_, 1.0f);
    write(queries, out, out_stride);
  }

 private:
  void read_queries(const float* q, std::int64_t q_stride, std::int64_t queries, float scale) {
    AttentionCodesArgs args;
    const bool at_once = plan_.group == 1;
    args.x_stride = at_once ? q_stride : head_.d();
    args.m = static_cast<std::int32_t>(at_once ? queries : plan_.group);
    args.d = static_cast<std::int32_t>(head_.d());
    args.form = plan_.product->form;
    args.codes_stride = plan_.q_stride;
    args.abs_offset = plan_.abs_of_q;
    for (std::int64_t row = 0; row < rows_; row += args.m) {
      args.x = q + row / plan_.group * q_stride;
      args.codes = codes_ + row * plan_.q_stride;
      args.scale = factor_ + row;
      plan_.quantize->run(args);
    }
    for (std::int64_t i = 0; i < rows_; ++i) factor_[i] = factor_[i] * scale * kLog2E;
  }

  // The visible keys of each row, as places in the packed head: first, then last.
  void read_visible(const std::int64_t* key_ranges, std::int64_t queries) {
    for (std::int64_t i = 0; i < queries; ++i) {
      const bool all = key_ranges == nullptr;
      const std::int64_t first = all ? 0 : head_.place(key_ranges[2 * i]);
      const std::int64_t last = all ? head_.n() : head_.place(key_ranges[2 * i + 1]);
      for (std::int64_t h = 0; h < plan_.group; ++h) {
        seen_[i * plan_.group + h] = static_cast<std::int32_t>(first);
        seen_[rows_ + i * plan_.group + h] = static_cast<std::int32_t>(last);
      }
    }
  }

  struct KeySpan {
    std::int64_t from, to;
  };

  // What rows see of the `keys` keys from `begin` on, from a multiple of 16 on.
  KeySpan seen_by_any(std::int64_t begin, std::int64_t keys) const {
    std::int64_t from = keys, to = 0;
    for (std::int64_t i = 0; i < rows_; ++i) {
      const std::int64_t first = std::max<std::int64_t>(seen_[i] - begin, 0);
      const std::int64_t last = std::min<std::int64_t>(seen_[rows_ + i] - begin, keys);
      if (first >= last) continue;
      from = std::min(from, first);
      to = std::max(to, last);
    }
    if (to == 0) return {0, 0};
    // The shift of signed codes is of all keys of the block.
    if (plan_.product->form != ActivationEncoding::kU8) return {0, keys};
    return {from / Weight::kPanelWidth * Weight::kPanelWidth, to};
  }

  // The scores, weights and sums of block b.
  void attend(std::int64_t b, const ScoreBias& bias) {
    const std::int64_t begin = b * kKeysPerBlock;
    const auto [from, to] = seen_by_any(begin, head_.keys_of(b));
    float* sum = stats_ + (plan_.blocks + b) * plan_.rows;
    if (to == 0) {
      std::fill_n(sum, rows_, 0.0f);
      return;
    }
    std::int32_t* first = seen_ + 2 * rows_;
    std::int32_t* last = first + rows_;
    for (std::int64_t i = 0; i < rows_; ++i) {
      const std::int64_t at = begin + from, keys = to - from;
      first[i] = static_cast<std::int32_t>(std::clamp<std::int64_t>(seen_[i] - at, 0, keys));
      last[i] = static_cast<std::int32_t>(
          std::clamp<std::int64_t>(seen_[rows_ + i] - at, first[i], keys));
    }
    const std::int64_t panels = ceil_div(to - from, Weight::kPanelWidth);
    multiply(codes_, plan_.q_stride, plan_.abs_of_q, head_.keys(b, from), scores_, kKeysPerBlock,
             panels);
    for (std::int64_t i = 0; bias.data != nullptr && i < rows_; ++i) {
      const float* row =
          bias.data + i / plan_.group * bias.row_stride + i % plan_.group * bias.head_stride;
      head_.gather(row, b, bias_ + i * kKeysPerBlock);
    }
    weigh(b, from, to - from, bias.data != nullptr, first, last, sum);
    multiply(weights_, plan_.weight_stride, plan_.abs_of_weights,
             head_.values(b, from, panels * Weight::kPanelWidth),
             sums_ + b * plan_.rows * plan_.d_pad, plan_.d_pad, plan_.d_pad / Weight::kPanelWidth);
  }

  void weigh(std::int64_t b, std::int64_t from, std::int64_t keys, bool has_bias,
             const std::int32_t* first, const std::int32_t* last, float* sum) {
    AttentionWeightsArgs args;
    args.scores = scores_;
    args.scores_stride = kKeysPerBlock;
    const bool is_shifted = plan_.product->form == ActivationEncoding::kU8;
    args.key_shift = is_shifted ? head_.key_shift(b) + from : nullptr;
    args.key_scale = head_.key_scale(b) + from;
    args.value_scale = head_.value_scale(b) + from;
    args.bias = has_bias ? bias_ + from : nullptr;
    args.bias_stride = kKeysPerBlock;
    args.m = static_cast<std::int32_t>(rows_);
    args.n = static_cast<std::int32_t>(keys);
    args.first = first;
    args.last = last;
    args.factor = factor_;
    args.form = plan_.product->form;
    args.codes = weights_;
    args.codes_stride = plan_.weight_stride;
    args.abs_offset = plan_.abs_of_weights;
    args.width = static_cast<std::int32_t>(round_up(keys, 64));
    args.top = stats_ + b * plan_.rows;
    args.sum = sum;
    args.largest = stats_ + (2 * plan_.blocks + b) * plan_.rows;
    plan_.weights->run(args);
  }

  void multiply(const std::uint8_t* a, std::int64_t a_stride, std::int64_t abs_offset,
                const CodePanels& b, std::int32_t* c, std::int64_t c_stride,
                std::int64_t panels) const {
    GemmS8Args args;
    args.a = a;
    args.a_stride = a_stride;
    args.a_abs_offset = abs_offset;
    args.b = b.codes;
    args.b_panel_stride = b.panel_stride;
    args.c = c;
    args.c_stride = c_stride;
    args.m = static_cast<std::int32_t>(rows_);
    args.panels = static_cast<std::int32_t>(panels);
    args.k_groups = static_cast<std::int32_t>(b.k_groups);
    args.accumulate = false;
    plan_.product->run(args);
  }

  void write(std::int64_t queries, float* out, std::int64_t out_stride) const {
    const bool at_once = plan_.group == 1;
    AttentionSumArgs args;
    args.m = static_cast<std::int32_t>(at_once ? queries : plan_.group);
    args.d = static_cast<std::int32_t>(head_.d());
    args.blocks = static_cast<std::int32_t>(head_.blocks());
    args.sums_stride = plan_.d_pad;
    args.block_rows = plan_.rows;
    args.shift = plan_.product->form == ActivationEncoding::kU8 ? nullptr : head_.value_shift();
    args.out_stride = at_once ? out_stride : head_.d();
    for (std::int64_t row = 0; row < rows_; row += args.m) {
      args.sums = sums_ + row * plan_.d_pad;
      args.top = stats_ + row;
      args.sum = stats_ + plan_.blocks * plan_.rows + row;
      args.largest = stats_ + 2 * plan_.blocks * plan_.rows + row;
      args.factor = factor_ + row;
      args.out = out + row / plan_.group * out_stride;
      plan_.sum->run(args);
    }
  }

  const Plan& plan_;
  const PackedHead& head_;
  std::uint8_t* codes_;
  float* factor_;  // the scales of q at first
  std::int32_t* scores_;
  std::uint8_t* weights_;
  std::int32_t* sums_;
  float* stats_;  // top, sum and largest of all blocks
  std::int32_t* seen_;
  float* bias_;
  std::int64_t rows_ = 0;
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
              extras.mask ? extras.mask + shape.begin(b, shape.keys) : nullptr, plan.product->form);
    RowBlock block(plan, head, own);
    const std::int64_t step = plan.rows / plan.group;
    for (std::int64_t i = q0; i < end && !interrupted(); i += step) {
      const std::int64_t* seen = extras.key_ranges;
      if (seen != nullptr) seen += 2 * (i + (shape.offsets != nullptr ? row0 : 0));
      ScoreBias bias = extras.bias;
      if (bias.data != nullptr) {
        bias.data += kv_head * plan.group * bias.head_stride + i * bias.row_stride;
      }
      block.run(shape.entry(q, b) + i * q.row_stride + column, q.row_stride,
                std::min(step, end - i), seen, bias, scale, out + (row0 + i) * width + column,
                width);
    }
  });
}

}  // namespace octavo
