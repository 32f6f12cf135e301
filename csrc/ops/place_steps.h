// SPDX-License-Identifier: Apache-2.0
// Steps that bring values to other places.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "ops/graph_program.h"

namespace octavo {

struct Resize {
  std::int64_t batch, height, width, channels;
  std::int64_t out_height, out_width;
  bool codes;     // int8, else float32
  bool bilinear;  // else nearest
  bool align_corners, half_pixel_centers;
};

std::unique_ptr<const GraphStep> resize_step(Tensor x, Tensor out, const Resize& resize);

// Bytes of `shape`, whose last axis is contiguous on both sides; strides of the others in bytes.
struct Copy {
  std::int64_t x, out;
  std::vector<std::int64_t> shape, x_strides, out_strides;
};

// Throws std::invalid_argument where bytes lie beyond so many, or are written more than once, or
// among those that are read.
std::unique_ptr<const GraphStep> copy_step(Copy copy, std::int64_t arena_bytes);

// out = the value, over and over.
std::unique_ptr<const GraphStep> fill_step(Tensor out, const void* value, std::int64_t item);

}  // namespace octavo
