// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "ops/kv_cache.h"
#include "ops/work_split.h"

namespace octavo {
namespace {

// Multiply-adds one thread does in about 5 us, if kernels have the sixteen rows that they take.
constexpr std::int64_t kWorkPerThread = 400000;
constexpr std::int64_t kRowsAtOnce = 16;

struct Longest {
  std::int64_t queries = 0, keys = 0, work = 0;

  explicit Longest(const CachedQueries& call) {
    for (std::int64_t s = 0; s < call.count; ++s) {
      const std::int64_t rows = call.offsets[s + 1] - call.offsets[s];
      const std::int64_t held = call.caches[s]->length(call.layer);
      queries = std::max(queries, rows);
      keys = std::max(keys, held);
      const std::int64_t seen = std::min(held, call.window), d = call.caches[s]->d();
      const std::int64_t kv_heads = call.caches[s]->kv_heads();
      const std::int64_t lanes = round_up(checked_mul(rows, call.heads / kv_heads), kRowsAtOnce);
      work = checked_add(work, checked_mul(2, kv_heads, lanes, seen, d));
    }
  }
};

// The keys that each row sees.
std::vector<std::int64_t> visible_keys(const CachedQueries& call) {
  std::vector<std::int64_t> ranges;
  ranges.reserve(static_cast<std::size_t>(2 * call.offsets[call.count]));
  for (std::int64_t s = 0; s < call.count; ++s) {
    const std::int64_t rows = call.offsets[s + 1] - call.offsets[s];
    for (std::int64_t i = 0; i < rows; ++i) {
      const std::int64_t end = call.caches[s]->length(call.layer) - rows + i + 1;
      ranges.push_back(std::max<std::int64_t>(0, end - call.window));
      ranges.push_back(end);
    }
  }
  return ranges;
}

}  // namespace

// The codes of one head of a layer.
class CachedHead final : public CodedHead {
 public:
  CachedHead(const KvCache& cache, std::int64_t layer, std::int64_t head)
      : CodedHead(cache.length(layer), cache.d()),
        cache_(cache),
        blocks_(cache.layers_[static_cast<std::size_t>(layer)].blocks),
        head_(head) {}

  std::int64_t place(std::int64_t j) const override { return j; }
  std::int64_t key_at(std::int64_t block, std::int64_t j) const override {
    return block * kKeysPerBlock + j;
  }
  void describe(std::int64_t block, AttentionBlockArgs& args) const override {
    const KvCache::Part of = cache_.part(*blocks_[static_cast<std::size_t>(block)], head_);
    args.n = static_cast<std::int32_t>(keys_of(block));
    args.d = static_cast<std::int32_t>(d());
    args.keys = of.keys;
    args.key_stride = cache_.key_stride_;
    args.values = of.values;
    args.value_stride = of.value_stride;
    args.key_start = of.key_start;
    args.key_scale = of.key_scale;
    args.value_scale = of.value_scale;
  }

 private:
  const KvCache& cache_;
  const std::vector<std::shared_ptr<KvCache::Block>>& blocks_;
  std::int64_t head_;
};

void attention_cached(const CachedQueries& call, float scale, float* out) {
  if (call.count == 0 || call.offsets[call.count] == 0) return;
  const KvCache& any = *call.caches[0];
  const Longest longest(call);
  const std::int64_t pairs = call.count * any.kv_heads(), group = call.heads / any.kv_heads();
  const QuerySplit split(threads_for(longest.work, kWorkPerThread), pairs, longest.queries);
  const std::int64_t parts = split.parts, part_queries = split.part_queries;
  ScratchLayout layout;
  const RowPlan plan(any.isas(), group, part_queries, longest.keys, any.d(), false, layout);
  const std::int64_t bytes = layout.bytes();
  const std::vector<std::int64_t> ranges = visible_keys(call);
  std::uint8_t* memory = scratch(static_cast<std::size_t>(checked_mul(bytes, split.threads)));
  parallel_for(pairs * parts, split.threads, [&](std::int64_t task, int worker) {
    const std::int64_t pair = task / parts, s = pair / any.kv_heads(), head = pair % any.kv_heads();
    const std::int64_t q0 = call.offsets[s] + task % parts * part_queries;
    const std::int64_t end = std::min(q0 + part_queries, call.offsets[s + 1]);
    if (q0 >= end) return;
    const std::int64_t width = call.heads * any.d(), column = head * group * any.d();
    const CachedHead coded(*call.caches[s], call.layer, head);
    const auto step_over = [&](std::int64_t first, std::int64_t last, int helper) {
      const std::int64_t i = q0 + first * plan.unit, stop = std::min(q0 + last * plan.unit, end);
      RowBlock block(plan, coded, scratch_of(helper, memory + worker * bytes, bytes));
      block.run(call.q + i * call.stride + column, call.stride, stop - i, ranges.data() + 2 * i,
                {nullptr, 0, 0}, scale, out + i * width + column, width);
    };
    run_steps(ceil_div(end - q0, plan.unit), plan.rows / group / plan.unit, step_over);
  });
}

}  // namespace octavo
