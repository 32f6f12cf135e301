// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include "memory/sizes.h"

namespace octavo {

// Data seen as (outer, channels, inner), contiguous. block_size == 0: one parameter, or one per
// channel; parameter_count says which. block_size > 0: parameters are (outer, ceil(channels /
// block_size), inner), one for each stretch of block_size channels.
struct ParameterLayout {
  std::int64_t outer;
  std::int64_t channels;
  std::int64_t inner;
  std::int64_t block_size;

  std::int64_t size() const { return checked_mul(outer, channels, inner); }
  std::int64_t parameter_count() const;
};

// `rows` rows of n contiguous elements each, one after the other from element `at` on. The
// parameters of the first row start at `parameter`, those of the next one parameter_step later;
// a row has one parameter, or one per element.
struct ParameterRun {
  std::int64_t at;
  std::int64_t rows;
  std::int64_t n;
  std::int64_t parameter;
  std::int64_t parameter_step;
  bool per_element;
};

// Cuts data into tasks of about `per_task` elements, and each task into runs.
class ParameterRuns {
 public:
  ParameterRuns(const ParameterLayout& layout, std::int64_t per_task);

  std::int64_t tasks() const { return tasks_; }

  template <class Body>
  void visit(std::int64_t task, const Body& body) const {
    if (pieces_ > 1) {
      body(piece(task));
      return;
    }
    std::int64_t row = task * rows_per_task_;
    const std::int64_t end = row + rows_per_task_ < rows_ ? row + rows_per_task_ : rows_;
    while (row < end) {
      const ParameterRun run = longest_run(row, end);
      body(run);
      row += run.rows;
    }
  }

 private:
  ParameterRun longest_run(std::int64_t row, std::int64_t end) const;
  ParameterRun piece(std::int64_t task) const;

  // Row r of group g is n_ elements at g * group_size_ + r * n_ (the group's last row last_n_); its
  // parameters are at g * group_parameters_ + r / rows_per_parameter_ * parameter_step_.
  std::int64_t group_rows_ = 1;
  std::int64_t n_ = 0;
  std::int64_t last_n_ = 0;
  std::int64_t group_size_ = 0;
  std::int64_t group_parameters_ = 0;
  std::int64_t rows_per_parameter_ = 1;
  std::int64_t parameter_step_ = 0;
  bool per_element_ = false;

  std::int64_t rows_ = 0;  // in all groups
  std::int64_t rows_per_task_ = 1;
  std::int64_t pieces_ = 1;  // of a long row
  std::int64_t piece_ = 0;   // elements
  std::int64_t tasks_ = 0;
};

}  // namespace octavo
