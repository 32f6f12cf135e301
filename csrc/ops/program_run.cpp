// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

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
  std::int64_t sequences, longest;
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
        list_.push_back({offsets[s], 0, offsets_.data() + offsets_.size(), 0, 0});
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

// Memory between steps, from the cache of results: at least as large as what that keeps.
class Arena {
 public:
  explicit Arena(std::int64_t bytes)
      : buffer_(take_result(std::max(kSmallestKept, static_cast<std::size_t>(bytes)))) {}
  ~Arena() { keep_result(std::move(buffer_)); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  float* data() const { return buffer_.as<float>(); }

 private:
  AlignedBuffer buffer_;
};

}  // namespace

class Program::Call {
 public:
  Call(const Program& program, const ScoreBias& bias, const float* x, float* out)
      : program_(program), bias_(bias), x_(x), out_(out) {
    const std::int64_t work = std::max<std::int64_t>(program.row_work_, 1);
    rows_per_thread_ = std::max(kRowUnit, kRowsPerByte * program.weight_bytes_ / work);
  }

  void run(const std::int64_t* offsets, std::int64_t count) {
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

  // Slices on so many threads, each with so many workers.
  void run_slices(const Slices& slices, int threads, int workers) {
    slice_rows_ = slices.largest();
    // Where few rows leave the split to each step, a block is all of them.
    block_rows_ = std::min(slice_rows_, std::max(kBlockRows, workers * rows_per_thread_));
    const std::int64_t slice = checked_mul(slice_rows_, program_.slice_columns_);
    const std::int64_t block = checked_mul(block_rows_, program_.block_columns_);
    const std::int64_t own = checked_add(slice, checked_mul(workers, block));
    const Arena arena(checked_mul(threads, own, std::int64_t{sizeof(float)}));
    parallel_for(static_cast<std::int64_t>(slices.list().size()), threads,
                 [&](std::int64_t task, int worker) {
                   float* memory = arena.data() + worker * own;
                   run_slice(slices.list()[task], {memory, memory + slice, workers});
                 });
  }

  void run_slice(const Slice& slice, const Memory& memory) const {
    for (const Stretch& stretch : program_.stretches_) {
      if (interrupted()) return;
      if (program_.steps_[stretch.begin].kind == Kind::kAttention) {
        attend(program_.steps_[stretch.begin], slice, memory);
      } else if (memory.workers > 1 && slice.rows < memory.workers * rows_per_thread_) {
        run_rows(stretch, slice, memory.slice, memory.blocks, 0, slice.rows);
      } else {
        run_blocks(stretch, slice, memory);
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
      run_rows(stretch, slice, memory.slice, block, m0, std::min(rows, slice.rows - m0));
    });
  }

  // Rows [m0, m0 + m) of a slice.
  void run_rows(const Stretch& stretch, const Slice& slice, float* slice_memory,
                float* block_memory, std::int64_t m0, std::int64_t m) const {
    const auto rows = [&](Value value) {
      return rows_of(value, slice, slice_memory, block_memory, m0);
    };
    for (std::int64_t i = stretch.begin; i < stretch.end && !interrupted();) {
      const Step& step = program_.steps_[i];
      const auto added = [&](const Step& one) {
        return Added{read(rows(one.addend)), read(rows(one.residual))};
      };
      const auto out = [&](const Step& one) {
        const Rows<float> made = rows(one.out);
        return Rows<void>{made.data, made.stride};
      };
      if (step.kind == Kind::kNorm) {
        layer_norm(m, program_.values_[step.x].width, read(rows(step.x)), step.norm.weight,
                   step.norm.bias, step.norm.eps, read(rows(step.residual)), rows(step.out));
      } else if (step.together == 1) {
        step.layer->run(m, read(rows(step.x)), added(step), out(step));
      } else {
        LinearCall calls[kMostLinears];
        for (std::int64_t j = 0; j < step.together; ++j) {
          const Step& one = program_.steps_[i + j];
          calls[j] = {static_cast<const Linear*>(one.layer.get()), added(one), out(one)};
        }
        run_linears(m, read(rows(step.x)), calls, step.together);
      }
      i += step.together;
    }
  }

  void attend(const Step& step, const Slice& slice, const Memory& memory) const {
    const auto entry = [&](Value value) {
      const Rows<float> rows = rows_of(value, slice, memory.slice, nullptr, 0);
      return TokenRows{rows.data, 0, rows.stride};
    };
    const std::int64_t heads = step.attention.heads;
    const AttentionShape shape = {slice.sequences,
                                  slice.longest,
                                  slice.longest,
                                  heads,
                                  program_.values_[step.out].width / heads,
                                  slice.offsets};
    const TokenRows q = entry(step.x), k = entry(step.addend), v = entry(step.residual);
    const ScoreBias bias = step.attention.biased ? bias_ : ScoreBias{nullptr, 0, 0};
    float* out = rows_of(step.out, slice, memory.slice, nullptr, 0).data;
    if (step.attention.int8) {
      AttentionExtras extras;
      extras.bias = bias;
      attention_s8({shape, heads}, q, k, v, extras, step.attention.scale, out);
    } else {
      attention(shape, q, k, v, nullptr, bias, step.attention.scale, out);
    }
  }

  static Rows<const float> read(const Rows<float>& rows) { return {rows.data, rows.stride}; }

  // Where row m0 of a slice is; kNone is nowhere.
  Rows<float> rows_of(Value value, const Slice& slice, float* slice_memory, float* block_memory,
                      std::int64_t m0) const {
    if (value == kNone) return {};
    const ValueInfo& info = program_.values_[value];
    const std::int64_t width = info.width;
    switch (info.where) {
      case Where::kInput:  // read alone
        return {const_cast<float*>(x_) + (slice.begin + m0) * width, width};
      case Where::kResult: return {out_ + (slice.begin + m0) * width, width};
      case Where::kSlice: return {slice_memory + info.at * slice_rows_ + m0 * width, width};
      case Where::kBlock: break;
    }
    return {block_memory + info.at * block_rows_, width};
  }

  const Program& program_;
  const ScoreBias& bias_;
  const float* x_;
  float* out_;
  std::int64_t rows_per_thread_, slice_rows_ = 0, block_rows_ = 0;
};

void Program::run(const std::int64_t* offsets, std::int64_t count, const ScoreBias& bias,
                  const float* x, float* out) const {
  if (count == 0 || offsets[count] == 0) return;
  Call(*this, bias, x, out).run(offsets, count);
}

}  // namespace octavo
