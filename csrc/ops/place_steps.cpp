// SPDX-License-Identifier: Apache-2.0
#include "ops/place_steps.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "dispatch/registry.h"
#include "memory/sizes.h"
#include "ops/work_split.h"

namespace octavo {
namespace {

// Bytes that one thread moves in about 2 us.
constexpr std::int64_t kBytesPerThread = 32768;

// Which two inputs each output of an axis lies between, and how far behind the first.
struct AxisPlaces {
  std::vector<std::int64_t> first, second;
  std::vector<float> fraction;

  AxisPlaces(std::int64_t extent, std::int64_t size, const Resize& r) {
    const bool ends = r.align_corners && size > 1;
    const float scale = ends ? static_cast<float>(extent - 1) / static_cast<float>(size - 1)
                             : static_cast<float>(extent) / static_cast<float>(size);
    const float half = r.half_pixel_centers ? 0.5f : 0.0f;
    for (std::int64_t i = 0; i < size; ++i) {
      float at = (static_cast<float>(i) + half) * scale;
      if (r.bilinear) {
        at = std::max(at - half, 0.0f);
      } else if (r.align_corners) {
        at = at + 0.5f;
      }
      first.push_back(std::min(static_cast<std::int64_t>(std::floor(at)), extent - 1));
      second.push_back(std::min(first[i] + 1, extent - 1));
      const bool between = second[i] != first[i];
      fraction.push_back(between ? at - static_cast<float>(first[i]) : 0.0f);
    }
  }
};

// Pixels of `bytes` from left[i], one behind the other.
void take_pixels(const std::uint8_t* row, const std::vector<std::int64_t>& left, std::int64_t bytes,
                 std::uint8_t* out) {
  for (const std::int64_t at : left) {
    std::memcpy(out, row + at * bytes, static_cast<std::size_t>(bytes));
    out += bytes;
  }
}

// One row of outputs between two of inputs.
void interpolate(const Resize& r, const AxisPlaces& columns, const std::uint8_t* top,
                 const std::uint8_t* bottom, float down, std::uint8_t* out) {
  InterpolateArgs args;
  args.codes = r.codes;
  args.top = top;
  args.bottom = bottom;
  args.left = columns.first.data();
  args.right = columns.second.data();
  args.fraction = columns.fraction.data();
  args.down = down;
  args.out = out;
  args.outputs = r.out_width;
  args.channels = r.channels;
  select<InterpolateArgs>(active_isas()).run(args);
}

// Axes that lie one in the other on both sides become one, which may be the last.
void merge_axes(Copy& copy) {
  std::vector<std::int64_t>&shape = copy.shape, &x = copy.x_strides, &out = copy.out_strides;
  for (std::size_t i = shape.size() - 1; i-- > 0;) {
    const bool last = i + 2 == shape.size();
    const std::int64_t x_inner = last ? 1 : x[i + 1], out_inner = last ? 1 : out[i + 1];
    const bool merges = x[i] == shape[i + 1] * x_inner && out[i] == shape[i + 1] * out_inner;
    if (!merges && shape[i] != 1) continue;
    if (merges) shape[i + 1] *= shape[i];
    shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(i));
    x.erase(x.begin() + static_cast<std::ptrdiff_t>(i));
    out.erase(out.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

// Bytes from the first to behind the last.
std::int64_t reach(const std::vector<std::int64_t>& shape,
                   const std::vector<std::int64_t>& strides) {
  std::int64_t bytes = shape.back();
  for (std::size_t i = 0; i < strides.size(); ++i) {
    bytes = checked_add(bytes, checked_mul(shape[i] - 1, strides[i]));
  }
  return bytes;
}

}  // namespace

std::unique_ptr<const GraphStep> resize_step(Tensor x, Tensor out, const Resize& r) {
  const std::int64_t item = r.codes ? 1 : sizeof(float), pixel = r.channels * item;
  AxisPlaces rows(r.height, r.out_height, r), columns(r.width, r.out_width, r);
  if (r.bilinear) {  // the kernel counts elements
    for (std::int64_t& at : columns.first) at *= r.channels;
    for (std::int64_t& at : columns.second) at *= r.channels;
  }
  const std::size_t held = static_cast<std::size_t>(r.out_height + r.out_width) *
                           (2 * sizeof(std::int64_t) + sizeof(float));
  return make_step(
      [=, rows = std::move(rows), columns = std::move(columns)](std::uint8_t* arena) {
        const int threads = threads_for(out.bytes, kBytesPerThread);
        parallel_for(r.batch * r.out_height, threads, [&](std::int64_t task, int) {
          const std::int64_t image = task / r.out_height, y = task % r.out_height;
          const auto* images = x.of<std::uint8_t>(arena) + image * r.height * r.width * pixel;
          const auto* top = images + rows.first[y] * r.width * pixel;
          const auto* bottom = images + rows.second[y] * r.width * pixel;
          auto* to = out.of<std::uint8_t>(arena) + task * r.out_width * pixel;
          if (r.bilinear) {
            interpolate(r, columns, top, bottom, rows.fraction[y], to);
          } else {
            take_pixels(top, columns.first, pixel, to);
          }
        });
      },
      held);
}

std::unique_ptr<const GraphStep> copy_step(Copy copy, std::int64_t arena_bytes) {
  const Tensor x = {copy.x, reach(copy.shape, copy.x_strides)};
  const Tensor out = {copy.out, reach(copy.shape, copy.out_strides)};
  expect(x.at >= 0 && checked_add(x.at, x.bytes) <= arena_bytes, "x", "bytes inside the arena");
  expect(out.at >= 0 && checked_add(out.at, out.bytes) <= arena_bytes, "out",
         "bytes inside the arena");
  expect(x.apart(out), "out", "memory that no input has");
  std::int64_t inner = copy.shape.back();
  for (std::size_t i = copy.out_strides.size(); i-- > 0;) {
    expect(copy.out_strides[i] >= inner, "out_strides", "places that each step writes once");
    inner += (copy.shape[i] - 1) * copy.out_strides[i];
  }
  merge_axes(copy);
  return make_step([copy = std::move(copy)](std::uint8_t* arena) {
    const std::size_t axes = copy.x_strides.size();
    std::int64_t runs = 1;
    for (std::size_t i = 0; i < axes; ++i) runs *= copy.shape[i];
    const std::int64_t length = copy.shape.back(), bytes = runs * length;
    const int threads = threads_for(bytes, kBytesPerThread);
    const std::int64_t at_once = items_per_task(runs, bytes, kBytesPerThread);
    parallel_for(ceil_div(runs, at_once), threads, [&](std::int64_t task, int) {
      const std::int64_t end = std::min(runs, (task + 1) * at_once);
      for (std::int64_t run = task * at_once; run < end; ++run) {
        std::int64_t x = copy.x, out = copy.out, index = run;
        for (std::size_t i = axes; i-- > 0; index /= copy.shape[i]) {
          x += index % copy.shape[i] * copy.x_strides[i];
          out += index % copy.shape[i] * copy.out_strides[i];
        }
        std::memcpy(arena + out, arena + x, static_cast<std::size_t>(length));
      }
    });
  });
}

std::unique_ptr<const GraphStep> fill_step(Tensor out, const void* value, std::int64_t item) {
  const auto* bytes = static_cast<const std::uint8_t*>(value);
  std::vector<std::uint8_t> kept(bytes, bytes + item);
  return make_step([=, kept = std::move(kept)](std::uint8_t* arena) {
    auto* const to = out.of<std::uint8_t>(arena);
    std::copy(kept.begin(), kept.end(), to);
    // What is there is copied behind itself.
    for (std::int64_t done = item; done < out.bytes; done += std::min(done, out.bytes - done)) {
      std::memcpy(to + done, to, static_cast<std::size_t>(std::min(done, out.bytes - done)));
    }
  });
}

}  // namespace octavo
