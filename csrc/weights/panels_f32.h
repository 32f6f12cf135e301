// SPDX-License-Identifier: Apache-2.0
// An immutable float32 matrix (rows = outputs) for gemm_f32, the same bytes for every tier:
//
//   | panel 0: k x 16 floats | panel 1 | ..
//
// Float j of group i of panel p is element (16 p + j, i); rows behind n are zeros.
#pragma once
#include <cstdint>

#include "memory/aligned_buffer.h"
#include "memory/sizes.h"

namespace octavo {

class PanelsF32 {
 public:
  static constexpr std::int64_t kWidth = 16;

  // values: (n, k) row-major.
  PanelsF32(const float* values, std::int64_t n, std::int64_t k);
  // Bytes that another process may have packed, and that may be any. Throws std::invalid_argument
  // where they are too many or too few.
  PanelsF32(AlignedBuffer packed, std::int64_t n, std::int64_t k);

  // Rows [begin, end), row-major.
  void unpack(std::int64_t begin, std::int64_t end, float* out) const;

  std::int64_t n() const { return n_; }
  std::int64_t k() const { return k_; }
  std::int64_t panels() const { return ceil_div(n_, kWidth); }
  std::int64_t panel_stride() const { return checked_mul(k_, kWidth); }  // elements
  float* panel(std::int64_t p) const { return packed_.as<float>() + p * panel_stride(); }
  const AlignedBuffer& packed() const { return packed_; }
  std::size_t nbytes() const { return packed_.size(); }

 private:
  std::size_t size() const;

  std::int64_t n_, k_;
  AlignedBuffer packed_;
};

}  // namespace octavo
