// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>
#include <variant>

#include "memory/result_cache.h"
#include "ops/attention_s8.h"
#include "ops/float_rows.h"
#include "ops/program.h"
#include "ops/work_split.h"
#include "threads/interrupt.h"

namespace octavo {
namespace {

// Multiply-adds one thread does in about 5 us.
constexpr std::int64_t kWorkPerThread = 1000000;
// Rows that go through a stretch together.
constexpr std::int64_t kBlockRows = 128;
// The fewest rows for which a thread reads all weights, for each byte that a multiply-add takes of
// them: below, steps split their columns. MiniLM at 1x16 on two threads: int8 by rows 1.5 times as
// fast as on one, by columns 0.9; float32 1.1 and 1.6.
constexpr std::int64_t kRowsPerByte = 8;
constexpr std::int64_t kRowUnit = 8;
// Rows of a slice, unless one sequence has more.
constexpr std::int64_t kSliceRows = 256;

// Neighbouring sequences.
struct Slice {
  std::int64_t begin, rows;     // of the input
  const std::int64_t* offsets;  // of its sequences, from its own beginning on
  std::int64_t first, sequences, longest;
};

// The sequences in slices of at most so many rows, or of one sequence that has any; empty ones go
// with a neighbour.
class Slices {
 public:
  Slices(const std::int64_t* offsets, std::int64_t count, std::int64_t most) {
    offsets_.reserve(static_cast<std::size_t>(2 * count + 1));
    for (std::int64_t s = 0; s < count; ++s) {
      const std::int64_t length = offsets[s + 1] - offsets[s];
      const std::int64_t before = list_.empty() ? 0 : list_.back().rows;
      if (list_.empty() || (before > 0 && length > 0 && before + length > most)) {
        list_.push_back({offsets[s], 0, offsets_.data() + offsets_.size(), s, 0, 0});
        offsets_.push_back(0);
      }
      Slice& slice = list_.back();
      slice.rows += length;
      slice.sequences += 1;
      slice.longest = std::max(slice.longest, length);
      offsets_.push_back(slice.rows);
    }
    for (const Slice& slice : list_) largest_ = std::max(largest_, slice.rows);
  }

  const std::vector<Slice>& list() const { return list_; }
  std::int64_t largest() const { return largest_; }

 private:
  std::vector<std::int64_t> offsets_;  // reserved: slices point into it
  std::vector<Slice> list_;
  std::int64_t largest_ = 0;
};

}  // namespace

class Program::Call {
 public:
  Call(const Program& program, const Arguments& arguments, const float* x, float* out)
      : program_(program), arguments_(arguments), x_(x), out_(out) {
    const std::int64_t work = std::max<std::int64_t>(program.row_work_, 1);
    rows_per_thread_ = std::max(kRowUnit, kRowsPerByte * program.weight_bytes_ / work);
  }

  void run() {
    const std::int64_t *offsets = arguments_.offsets, count = arguments_.count;
    const std::int64_t rows = offsets[count];
    const int threads = threads_for(checked_mul(rows, program_.row_work_), kWorkPerThread);
    const std::int64_t share = ceil_div(rows, threads * ceil_div(rows, threads * kSliceRows));
    const Slices slices(offsets, count, share);
    // Else one thread would wait for another's long sequence.
    const bool spread = threads > 1 && rows >= threads * rows_per_thread_ &&
                        4 * slices.largest() <= 5 * ceil_div(rows, threads);
    if (spread || threads == 1) {
      run_slices(slices, threads, 1);
    } else {
      run_slices(Slices(offsets, count, threads * kSliceRows), 1, threads);
    }
  }

 private:
  // What a thread, or all that work on a slice, have between steps.
  struct Memory {
    float* slice;
    float* blocks;  // one for each worker
    int workers;
  };
  // Rows [m0, m0 + m) of a slice, and where values of its steps are.
  struct Part {
    const Slice& slice;
    float *slice_memory, *block_memory;
    std::int64_t m0, m;
  };

  // Slices on so many threads, each with so many workers.
  void run_slices(const Slices& slices, int threads, int workers) {
    slice_rows_ = slices.largest();
    // Where few rows leave the split to each step, a block is all of them.
    block_rows_ = std::min(slice_rows_, std::max(kBlockRows, workers * rows_per_thread_));
    const std::int64_t slice = checked_mul(slice_rows_, program_.slice_columns_);
    const std::int64_t block = checked_mul(block_rows_, program_.block_columns_);
    const std::int64_t own = checked_add(slice, checked_mul(workers, block));
    const CallMemory between_steps(checked_mul(threads, own, std::int64_t{sizeof(float)}));
    parallel_for(static_cast<std::int64_t>(slices.list().size()), threads,
                 [&](std::int64_t task, int worker) {
                   float* memory = between_steps.as<float>() + worker * own;
                   run_slice(slices.list()[task], {memory, memory + slice, workers});
                 });
  }

  void run_slice(const Slice& slice, const Memory& memory) const {
    for (const Stretch& stretch : program_.stretches_) {
      if (interrupted()) return;
      const bool by_rows = program_.steps_[stretch.begin].by_rows();
      if (by_rows && (memory.workers == 1 || slice.rows >= memory.workers * rows_per_thread_)) {
        run_blocks(stretch, slice, memory);
      } else {
        run_steps_of(stretch, {slice, memory.slice, memory.blocks, 0, slice.rows});
      }
    }
  }

  void run_blocks(const Stretch& stretch, const Slice& slice, const Memory& memory) const {
    const std::int64_t shares = round_up(ceil_div(slice.rows, kBlockRows), memory.workers);
    const std::int64_t rows =
        std::min(kBlockRows, round_up(ceil_div(slice.rows, shares), kRowUnit));
    parallel_for(ceil_div(slice.rows, rows), memory.workers, [&](std::int64_t task, int worker) {
      float* block = memory.blocks + worker * block_rows_ * program_.block_columns_;
      const std::int64_t m0 = task * rows;
      run_steps_of(stretch, {slice, memory.slice, block, m0, std::min(rows, slice.rows - m0)});
    });
  }

  void run_steps_of(const Stretch& stretch, const Part& part) const {
    for (std::int64_t i = stretch.begin; i < stretch.end && !interrupted();) {
      const Step& step = program_.steps_[i];
      if (step.together > 1) {
        run_together(i, part);
      } else {
        std::visit([&](const auto& work) { run(work, step, part); }, step.work);
      }
      i += step.together;
    }
  }

  void run_together(std::int64_t first, const Part& part) const {
    const Step* const steps = &program_.steps_[first];
    LinearCall calls[kMostLinears];
    for (std::int64_t j = 0; j < steps->together; ++j) {
      const auto* layer = static_cast<const Linear*>(steps[j].layer());
      calls[j] = {layer, added(steps[j], part), untyped(rows_of(steps[j].out, part))};
    }
    run_linears(part.m, read(steps->x, part), calls, steps->together);
  }

  void run(const Layer& layer, const Step& step, const Part& part) const {
    layer->run(part.m, read(step.x, part), added(step, part), untyped(rows_of(step.out, part)));
  }

  void run(const LayerNorm& norm, const Step& step, const Part& part) const {
    layer_norm(part.m, width_of(step.out), read(step.x, part), norm.weight, norm.bias, norm.eps,
               read(step.third, part), rows_of(step.out, part));
  }

  void run(const RmsNorm& norm, const Step& step, const Part& part) const {
    const Rows<const float> x = read(step.x, part), addend = read(step.third, part);
    const Rows<float> out = rows_of(step.out, part);
    for (std::int64_t at = 0; at < width_of(step.out); at += norm.n) {
      rms_norm(part.m, norm.n, columns_from(at, x), norm.weight, norm.eps, columns_from(at, addend),
               columns_from(at, out));
    }
  }

  void run(const Rotary& turn, const Step& step, const Part& part) const {
    rotary(part.m, turn.heads, width_of(step.out) / turn.heads, read(step.x, part),
           arguments_.tables[turn.table], arguments_.positions + part.slice.begin + part.m0,
           rows_of(step.out, part));
  }

  void run(const Activation& activation, const Step& step, const Part& part) const {
    gated(activation, part.m, width_of(step.out), read(step.x, part), read(step.second, part),
          rows_of(step.out, part));
  }

  void run(const Attention& step_attention, const Step& step, const Part& part) const {
    const auto entry = [&](Value value) {
      const Rows<const float> rows = read(value, part);
      return TokenRows{rows.data, 0, rows.stride};
    };
    const Slice& slice = part.slice;
    const std::int64_t heads = step_attention.heads;
    const AttentionShape shape = {
        slice.sequences, slice.longest, slice.longest, heads, width_of(step.out) / heads,
        slice.offsets};
    const TokenRows q = entry(step.x), k = entry(step.second), v = entry(step.third);
    const ScoreBias bias = step_attention.biased ? arguments_.bias : ScoreBias{nullptr, 0, 0};
    float* out = rows_of(step.out, part).data;
    if (step_attention.int8) {
      AttentionExtras extras;
      extras.bias = bias;
      attention_s8({shape, heads}, q, k, v, extras, step_attention.scale, out);
    } else {
      attention(shape, q, k, v, nullptr, bias, step_attention.scale, out);
    }
  }

  void run(const CachedAttention& cached, const Step& step, const Part& part) const {
    const Slice& slice = part.slice;
    KvCache* const* const caches = arguments_.caches + slice.first;
    const Rows<const float> q = read(step.x, part);
    const Rows<const float> k = read(step.second, part), v = read(step.third, part);
    for (std::int64_t s = 0; s < slice.sequences; ++s) {
      const std::int64_t begin = slice.offsets[s], count = slice.offsets[s + 1] - begin;
      caches[s]->append(cached.layer, rows_from(begin, k), rows_from(begin, v), count);
    }
    attention_cached({q.data, q.stride, slice.offsets, caches, slice.sequences, cached.layer,
                      cached.heads, cached.window},
                     cached.scale, rows_of(step.out, part).data);
  }

  Added added(const Step& step, const Part& part) const {
    return {read(step.second, part), read(step.third, part)};
  }
  static Rows<void> untyped(const Rows<float>& rows) { return {rows.data, rows.stride}; }
  template <class T>
  static Rows<T> columns_from(std::int64_t column, const Rows<T>& rows) {
    return {rows.data == nullptr ? nullptr : rows.data + column, rows.stride};
  }
  template <class T>
  static Rows<T> rows_from(std::int64_t row, const Rows<T>& rows) {
    return {rows.data + row * rows.stride, rows.stride};
  }
  std::int64_t width_of(Value value) const { return program_.values_[value].width; }

  Rows<const float> read(Value value, const Part& part) const {
    const Rows<float> rows = rows_of(value, part);
    return {rows.data, rows.stride};
  }

  // Where the rows of a part are; kNone is nowhere.
  Rows<float> rows_of(Value value, const Part& part) const {
    if (value == kNone) return {};
    const ValueInfo& info = program_.values_[value];
    if (info.whole != kNone) return columns_from(info.first_column, rows_of(info.whole, part));
    const std::int64_t width = info.width, row = part.slice.begin + part.m0;
    switch (info.where) {
      case Where::kInput: return {const_cast<float*>(x_) + row * width, width};  // read alone
      case Where::kResult: return {out_ + row * width, width};
      case Where::kSlice:
        return {part.slice_memory + info.at * slice_rows_ + part.m0 * width, width};
      case Where::kBlock: break;
    }
    return {part.block_memory + info.at * block_rows_, width};
  }

  const Program& program_;
  const Arguments& arguments_;
  const float* x_;
  float* out_;
  std::int64_t rows_per_thread_, slice_rows_ = 0, block_rows_ = 0;
};

void Program::run(const Arguments& arguments, const float* x, float* out) const {
  if (arguments.count == 0 || arguments.offsets[arguments.count] == 0) return;
  Call(*this, arguments, x, out).run();
}

}  // namespace octavo
