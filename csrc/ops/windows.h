// SPDX-License-Identifier: Apache-2.0
// Where the outputs of convolutions and pools read their input: images (batch, height, width,
// channels). Tap (i, j) of output (y, x) is input
//
//   (y * stride_h + i * dilation_h - top, x * stride_w + j * dilation_w - left)
//
// or padding, where there is none.
#pragma once
#include <algorithm>
#include <cstdint>

#include "memory/sizes.h"
#include "ops/graph_program.h"

namespace octavo {

struct Windows {
  std::int64_t batch, height, width, channels;
  std::int64_t out_height, out_width;
  std::int64_t kernel_h, kernel_w;
  std::int64_t stride_h, stride_w;
  std::int64_t dilation_h, dilation_w;
  std::int64_t top, left;

  std::int64_t outputs() const { return checked_mul(batch, out_height, out_width); }
  // The first output of a row behind those that have all of their columns.
  std::int64_t whole_end() const {
    const std::int64_t behind = width - (kernel_w - 1) * dilation_w + left;
    return behind > 0 ? std::min(out_width, ceil_div(behind, stride_w)) : 0;
  }
  // Whether each output reads the input at its own place, and no other.
  bool one_to_one() const {
    return kernel_h == 1 && kernel_w == 1 && stride_h == 1 && stride_w == 1 && top == 0 &&
           left == 0 && out_height == height && out_width == width;
  }
};

// A step's images in the arena.
struct WindowTensors {
  Windows windows;
  Tensor x, out;
};

// One output's place; += goes on by no more than to the first of the next row.
struct OutputPlace {
  OutputPlace(const Windows& windows, std::int64_t output)
      : w(windows),
        x(output % w.out_width),
        y(output / w.out_width % w.out_height),
        image(output / w.out_width / w.out_height) {}

  OutputPlace& operator+=(std::int64_t outputs) {
    if ((x += outputs) < w.out_width) return *this;
    x = 0;
    if (++y < w.out_height) return *this;
    y = 0;
    ++image;
    return *this;
  }

  const Windows& w;
  std::int64_t x, y, image;
};

// What an output reads of channels [first, first + count), tap after tap: calls read(at, n) for n
// elements at that place of the input, and pad(n) for as many of padding.
template <class Read, class Pad>
void visit_taps(const OutputPlace& place, std::int64_t first, std::int64_t count, const Read& read,
                const Pad& pad) {
  const Windows& w = place.w;
  const std::int64_t left = place.x * w.stride_w - w.left;
  // Neighbours of a row are one piece.
  const bool together = count == w.channels && (w.dilation_w == 1 || w.kernel_w == 1);
  const std::int64_t begin = std::clamp<std::int64_t>(-left, 0, w.kernel_w);
  const std::int64_t end = std::clamp<std::int64_t>(w.width - left, begin, w.kernel_w);
  for (std::int64_t i = 0; i < w.kernel_h; ++i) {
    const std::int64_t y = place.y * w.stride_h + i * w.dilation_h - w.top;
    if (y < 0 || y >= w.height) {
      pad(w.kernel_w * count);
      continue;
    }
    const std::int64_t row = (place.image * w.height + y) * w.width;
    if (together) {
      if (begin > 0) pad(begin * count);
      if (end > begin) read((row + left + begin) * count, (end - begin) * count);
      if (end < w.kernel_w) pad((w.kernel_w - end) * count);
      continue;
    }
    for (std::int64_t j = 0; j < w.kernel_w; ++j) {
      const std::int64_t x = left + j * w.dilation_w;
      if (x < 0 || x >= w.width) {
        pad(count);
      } else {
        read((row + x) * w.channels + first, count);
      }
    }
  }
}

// visit_taps() for outputs [m0, m0 + rows), with begin(r, image) before each; those that read no
// padding go fast.
template <class Begin, class Read, class Pad>
void visit_outputs(const Windows& w, std::int64_t m0, std::int64_t rows, std::int64_t first,
                   std::int64_t count, const Begin& begin, const Read& read, const Pad& pad) {
  const bool together = count == w.channels && (w.dilation_w == 1 || w.kernel_w == 1);
  const std::int64_t below = w.dilation_h * w.width * w.channels, behind = w.stride_w * w.channels;
  const std::int64_t run = w.kernel_w * w.channels;
  const std::int64_t whole_begin = ceil_div(w.left, w.stride_w), whole_end = w.whole_end();
  OutputPlace place(w, m0);
  for (std::int64_t r = 0; r < rows;) {
    const std::int64_t y = place.y * w.stride_h - w.top;
    const bool whole = together && y >= 0 && y + (w.kernel_h - 1) * w.dilation_h < w.height &&
                       place.x >= whole_begin && place.x < whole_end;
    if (!whole) {
      begin(r, place.image);
      visit_taps(place, first, count, read, pad);
      place += 1;
      ++r;
      continue;
    }
    const std::int64_t outputs = std::min(rows - r, whole_end - place.x);
    const std::int64_t row = (place.image * w.height + y) * w.width;
    std::int64_t at = (row + place.x * w.stride_w - w.left) * w.channels;
    for (const std::int64_t end = r + outputs; r < end; ++r, at += behind) {
      begin(r, place.image);
      for (std::int64_t i = 0; i < w.kernel_h; ++i) read(at + i * below, run);
    }
    place += outputs;
  }
}

}  // namespace octavo
