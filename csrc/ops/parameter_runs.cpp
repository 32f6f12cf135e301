// SPDX-License-Identifier: Apache-2.0
#include "ops/parameter_runs.h"

#include <algorithm>

#include "ops/work_split.h"

namespace octavo {

std::int64_t ParameterLayout::parameter_count() const {
  return block_size == 0 ? channels : checked_mul(outer, ceil_div(channels, block_size), inner);
}

ParameterRuns::ParameterRuns(const ParameterLayout& layout, std::int64_t per_task) {
  if (layout.size() == 0) return;
  const std::int64_t outer = layout.outer, channels = layout.channels, inner = layout.inner;
  const std::int64_t block = layout.block_size;
  rows_ = outer;
  n_ = last_n_ = inner;
  if (block == 0 && channels == 1) {  // one parameter: a single row
    rows_ = 1;
    n_ = last_n_ = outer * inner;
  } else if (block == 0 && inner == 1) {
    n_ = last_n_ = channels;
    per_element_ = true;
  } else if (block == 0) {
    group_rows_ = channels;
    parameter_step_ = 1;
  } else if (inner == 1) {
    group_rows_ = ceil_div(channels, block);
    n_ = std::min(block, channels);
    last_n_ = channels - (group_rows_ - 1) * n_;
    group_parameters_ = group_rows_;
    parameter_step_ = 1;
  } else {
    group_rows_ = channels;
    group_parameters_ = ceil_div(channels, block) * inner;
    rows_per_parameter_ = block;
    parameter_step_ = inner;
    per_element_ = true;
  }
  group_size_ = (group_rows_ - 1) * n_ + last_n_;
  if (!(block == 0 && channels == 1)) rows_ = outer * group_rows_;
  if (n_ > per_task) {
    piece_ = (per_task + 63) / 64 * 64;
    pieces_ = ceil_div(n_, piece_);
    tasks_ = rows_ * pieces_;
  } else {
    rows_per_task_ = std::max<std::int64_t>(1, per_task / n_);
    tasks_ = ceil_div(rows_, rows_per_task_);
  }
}

ParameterRun ParameterRuns::longest_run(std::int64_t row, std::int64_t end) const {
  const std::int64_t group = row / group_rows_, r = row % group_rows_;
  const std::int64_t at = group * group_size_ + r * n_;
  const std::int64_t parameter =
      group * group_parameters_ + r / rows_per_parameter_ * parameter_step_;
  if (group_rows_ == 1) return {at, end - row, n_, parameter, group_parameters_, per_element_};
  if (r == group_rows_ - 1) return {at, 1, last_n_, parameter, 0, per_element_};
  std::int64_t rows = std::min(end - row, group_rows_ - r - (last_n_ == n_ ? 0 : 1));
  if (rows_per_parameter_ == 1) return {at, rows, n_, parameter, parameter_step_, per_element_};
  rows = std::min(rows, rows_per_parameter_ - r % rows_per_parameter_);
  return {at, rows, n_, parameter, 0, per_element_};
}

ParameterRun ParameterRuns::piece(std::int64_t task) const {
  ParameterRun run = longest_run(task / pieces_, task / pieces_ + 1);
  const std::int64_t begin = std::min(task % pieces_ * piece_, run.n);
  run.at += begin;
  run.n = std::min(piece_, run.n - begin);
  if (per_element_) run.parameter += begin;
  return run;
}

}  // namespace octavo
