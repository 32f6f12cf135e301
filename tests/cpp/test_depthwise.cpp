// SPDX-License-Identifier: Apache-2.0
// depthwise_s8 rows, as an operation calls them: strip after strip of an image, with weights that
// DepthwiseWeight packed.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "bench.h"
#include "guarded.h"
#include "memory/sizes.h"
#include "reference.h"
#include "tests.h"
#include "weights/depthwise.h"

namespace octavo_test {
namespace {

using namespace octavo;
using Row = KernelRow<DepthwiseS8Args>;

struct Filter {
  std::int64_t size, stride, dilation;
};

struct Case {
  std::int64_t height, width, channels;
  Filter h, w;
  std::int64_t top, left, out_height, out_width;
  Edge edge;

  std::string text() const {
    return " " + std::to_string(h.size) + "x" + std::to_string(w.size) +
           " stride=" + std::to_string(h.stride) + " to " + std::to_string(out_height) + "x" +
           std::to_string(out_width) + "x" + std::to_string(channels);
  }
};

// Outputs as many as the input has, over the stride.
Case same(std::int64_t size, std::int64_t channels, std::int64_t filter, std::int64_t stride) {
  const std::int64_t out = (size + stride - 1) / stride;
  const std::int64_t border = std::max<std::int64_t>(0, (out - 1) * stride + filter - size) / 2;
  const Filter f = {filter, stride, 1};
  return {size, size, channels, f, f, border, border, out, out, Edge::kEnd};
}

constexpr int kZeroPoint = -7, kLow = -90, kHigh = 120;

struct Data {
  Data(const Case& c, Random& random)
      : image(c.height * c.width * c.channels, c.edge),
        padding(c.channels, c.edge),
        codes(static_cast<std::size_t>(c.h.size * c.w.size * c.channels)),
        offset(c.channels, c.edge),
        multiplier(c.channels, c.edge),
        out(c.out_height * c.out_width * c.channels, c.edge) {
    // Extremes often: where all are, sums of pairs are the largest that there are.
    const auto code = [&](bool extreme) {
      return static_cast<std::int8_t>(extreme ? -128 : random.between(-128, 127));
    };
    for (std::int64_t i = 0; i < image.size(); ++i) image[i] = code(i / 64 % 5 == 3);
    for (std::int64_t i = 0; i < c.channels; ++i) padding[i] = code(i % 3 == 0);
    for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = code(i % 7 < 3);
    for (std::int64_t i = 0; i < c.channels; ++i) {
      offset[i] = static_cast<std::int32_t>(random.between(-30000, 30000));
      multiplier[i] = std::fabs(random.real(0.01f));
    }
    out.fill(99);
  }

  Guarded<std::int8_t> image, padding;
  std::vector<std::int8_t> codes;
  Guarded<std::int32_t> offset;
  Guarded<float> multiplier;
  Guarded<std::int8_t> out;
};

std::int8_t expected_code(const Case& c, Data& d, std::int64_t oy, std::int64_t ox,
                          std::int64_t channel) {
  std::int32_t sum = d.offset[channel];
  for (std::int64_t i = 0; i < c.h.size; ++i) {
    for (std::int64_t j = 0; j < c.w.size; ++j) {
      const std::int64_t y = oy * c.h.stride + i * c.h.dilation - c.top;
      const std::int64_t x = ox * c.w.stride + j * c.w.dilation - c.left;
      const bool inside = y >= 0 && y < c.height && x >= 0 && x < c.width;
      const int code =
          inside ? d.image[(y * c.width + x) * c.channels + channel] : d.padding[channel];
      const auto at = static_cast<std::size_t>((i * c.w.size + j) * c.channels + channel);
      sum += code * d.codes[at];
    }
  }
  const float t = static_cast<float>(sum) * d.multiplier[channel];
  return static_cast<std::int8_t>(saturated(t, kZeroPoint, kLow, kHigh));
}

void check_depthwise(const Row& kernel, const Case& c, Random& random) {
  Data d(c, random);
  const DepthwiseWeight weight(d.codes.data(), c.h.size, c.w.size, c.channels, c.h.stride,
                               c.h.dilation);
  const std::int64_t span = depthwise_span(c.out_width, c.w.size, c.w.stride, c.w.dilation);
  Guarded<std::uint8_t> scratch(depthwise_scratch_bytes(weight.window_rows(), span));
  std::vector<const std::int8_t*> rows(static_cast<std::size_t>(weight.window_rows()));
  DepthwiseS8Args args;
  weight.describe(args);
  args.rows = rows.data();
  args.width = static_cast<std::int32_t>(c.width);
  args.padding = d.padding.data();
  args.stride_w = static_cast<std::int32_t>(c.w.stride);
  args.dilation_w = static_cast<std::int32_t>(c.w.dilation);
  args.left = static_cast<std::int32_t>(c.left);
  args.offset = d.offset.data();
  args.multiplier = d.multiplier.data();
  args.low = static_cast<float>(kLow - kZeroPoint);
  args.high = static_cast<float>(kHigh - kZeroPoint);
  args.zero_point = kZeroPoint;
  args.scratch = scratch.data();
  args.out_width = static_cast<std::int32_t>(c.out_width);
  args.out_stride = c.out_width * c.channels;
  const auto run = [&] {
    for (std::int64_t oy = 0; oy < c.out_height; oy += weight.strip_rows()) {
      for (std::int64_t i = 0; i < weight.window_rows(); ++i) {
        const std::int64_t y = oy * c.h.stride + i * c.h.dilation - c.top;
        const bool inside = y >= 0 && y < c.height;
        rows[static_cast<std::size_t>(i)] =
            inside ? d.image.data() + y * c.width * c.channels : nullptr;
      }
      args.out_rows = static_cast<std::int32_t>(std::min(weight.strip_rows(), c.out_height - oy));
      args.out = d.out.data() + oy * args.out_stride;
      kernel.run(args);
    }
  };
  run();
  std::vector<std::int8_t> expected;
  for (std::int64_t oy = 0; oy < c.out_height; ++oy) {
    for (std::int64_t ox = 0; ox < c.out_width; ++ox) {
      for (std::int64_t i = 0; i < c.channels; ++i) {
        expected.push_back(expected_code(c, d, oy, ox, i));
      }
    }
  }
  const std::string what = std::string(kernel.name) + c.text();
  check_same(d.out.data(), expected.data(), d.out.size(), what);
  time_case(what, run);
}

void check_row(const Row& kernel) {
  Random random(20261201);
  for (const std::int64_t channels : {1, 7, 16, 17, 24, 40}) {
    for (const std::int64_t size : {1, 2, 3, 4, 5, 7, 9}) {
      for (const std::int64_t stride : {1, 2, 3}) {
        Case c = same(9, channels, size, stride);
        check_depthwise(kernel, c, random);
        c.edge = Edge::kFront;
        c.out_width = std::min<std::int64_t>(c.out_width, 3);
        check_depthwise(kernel, c, random);
      }
    }
    // Dilated, not square; more padding than there are columns, and none.
    check_depthwise(kernel, {9, 8, channels, {3, 1, 2}, {5, 2, 3}, 2, 6, 9, 4, Edge::kEnd}, random);
    check_depthwise(kernel, {6, 2, channels, {5, 1, 1}, {2, 1, 1}, 7, 9, 9, 8, Edge::kFront},
                    random);
    check_depthwise(kernel, {7, 9, channels, {2, 2, 1}, {3, 2, 1}, 0, 0, 3, 4, Edge::kEnd}, random);
  }
}

}  // namespace

void test_depthwise_s8() {
  for_each_row<DepthwiseS8Args>(check_row, [](const Row& kernel) {
    Random random(20261202);
    check_depthwise(kernel, same(112, 32, 3, 1), random);
    check_depthwise(kernel, same(112, 96, 3, 2), random);
    check_depthwise(kernel, same(56, 144, 3, 1), random);
    check_depthwise(kernel, same(56, 144, 5, 2), random);
    check_depthwise(kernel, same(28, 240, 5, 1), random);
    check_depthwise(kernel, same(14, 480, 3, 1), random);
    check_depthwise(kernel, same(14, 672, 5, 1), random);
    check_depthwise(kernel, same(7, 1152, 5, 1), random);
  });
}

}  // namespace octavo_test
