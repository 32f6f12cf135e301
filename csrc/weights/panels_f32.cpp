// SPDX-License-Identifier: Apache-2.0
#include "weights/panels_f32.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "dispatch/registry.h"
#include "threads/interrupt.h"

namespace octavo {
namespace {

// Columns that are turned between two questions whether the call is interrupted.
constexpr std::int64_t kColumnsPerQuestion = std::int64_t{1} << 20;

// out[j][i] = x[i][j]
void transpose(const float* x, std::int64_t x_stride, std::int64_t rows, std::int64_t columns,
               float* out, std::int64_t out_stride) {
  select<TransposeF32Args>(active_isas()).run({x, x_stride, rows, columns, out, out_stride});
}

}  // namespace

PanelsF32::PanelsF32(const float* values, std::int64_t n, std::int64_t k)
    : n_(n), k_(k), packed_(size()) {
  if (k == 0) return;  // rows of nothing may be any number
  for (std::int64_t row = 0; row < n; row += kWidth) {
    const std::int64_t rows = std::min(kWidth, n - row);
    float* out = panel(row / kWidth);
    if (rows < kWidth) std::fill_n(out, panel_stride(), 0.0f);
    for (std::int64_t i = 0; i < k; i += kColumnsPerQuestion) {
      interruption_point();
      const std::int64_t columns = std::min(kColumnsPerQuestion, k - i);
      transpose(values + row * k + i, k, rows, columns, out + i * kWidth, kWidth);
    }
  }
}

PanelsF32::PanelsF32(AlignedBuffer packed, std::int64_t n, std::int64_t k)
    : n_(n), k_(k), packed_(std::move(packed)) {
  if (packed_.size() != size()) {
    throw std::invalid_argument("packed: expected as many bytes as a float32 weight of this shape");
  }
}

void PanelsF32::unpack(std::int64_t begin, std::int64_t end, float* out) const {
  if (k_ == 0) return;
  for (std::int64_t row = begin; row < end;) {
    const std::int64_t first = row % kWidth, rows = std::min(kWidth - first, end - row);
    for (std::int64_t i = 0; i < k_; i += kColumnsPerQuestion) {
      interruption_point();
      const std::int64_t columns = std::min(kColumnsPerQuestion, k_ - i);
      transpose(panel(row / kWidth) + i * kWidth + first, kWidth, columns, rows,
                out + (row - begin) * k_ + i, k_);
    }
    row += rows;
  }
}

std::size_t PanelsF32::size() const {
  return static_cast<std::size_t>(
      checked_mul(panels(), panel_stride(), static_cast<std::int64_t>(sizeof(float))));
}

}  // namespace octavo
