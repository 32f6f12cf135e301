// SPDX-License-Identifier: Apache-2.0
#include "ops/window_steps.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "dispatch/registry.h"
#include "memory/result_cache.h"
#include "ops/scratch.h"
#include "ops/work_split.h"
#include "weights/depthwise.h"

namespace octavo {
namespace {

// Taps that one thread adds up in about 2 us, or multiplies.
constexpr std::int64_t kWorkPerThread = 65536;
// Channels of a task at least, where there are fewer rows than threads.
constexpr std::int64_t kTaskChannels = 64;
// From more channels on, lanes without one are few.
constexpr std::int64_t kMostTogether = 64;

// Which of `kernel` taps lie inside, of those that begin at `start`.
struct Taps {
  std::int64_t begin, end;

  Taps(std::int64_t start, std::int64_t dilation, std::int64_t kernel, std::int64_t extent)
      : begin(start >= 0 ? 0 : std::min(kernel, ceil_div(-start, dilation))),
        end(start >= extent ? begin
                            : std::clamp(ceil_div(extent - start, dilation), begin, kernel)) {}
  std::int64_t count() const { return end - begin; }
};

// A step of kernels/window: what the kernel is told beside where windows lie.
struct WindowStep {
  Windows w;
  WindowArgs args;
  std::int64_t item;                // bytes
  double scale = 0, out_scale = 1;  // of codes that are averaged

  // Outputs side by side that are given to the kernel as channels of one, so that these fill
  // sixteen lanes: outputs next to each other read inputs next to each other. Their weights come
  // as often.
  std::int64_t together() const {
    if (w.stride_w != 1 || w.channels > kMostTogether) return 1;
    return 16 / std::gcd(w.channels, std::int64_t{16});
  }

  // Row y of an image's outputs: channels [c0, c0 + channels).
  void run(const std::uint8_t* x, std::uint8_t* out, std::int64_t image, std::int64_t y,
           std::int64_t c0, std::int64_t channels) const {
    const KernelRow<WindowArgs>& kernel = select<WindowArgs>(active_isas());
    const std::int64_t top = y * w.stride_h - w.top, at_once = together();
    const Taps rows(top, w.dilation_h, w.kernel_h, w.height);
    const std::int64_t whole_end = w.whole_end();
    const std::int64_t row = (image * w.height + top + rows.begin * w.dilation_h) * w.width;
    for (std::int64_t ox = 0; ox < w.out_width;) {
      const std::int64_t left = ox * w.stride_w - w.left;
      const Taps columns(left, w.dilation_w, w.kernel_w, w.width);
      const bool whole = columns.count() == w.kernel_w;
      WindowArgs a = args;
      a.x = x + ((row + left + columns.begin * w.dilation_w) * w.channels + c0) * item;
      a.rows = rows.count();
      a.columns = columns.count();
      if (a.w != nullptr) {
        a.w += (rows.begin * w.kernel_w + columns.begin) * a.w_column_stride + c0;
        a.bias += c0;
      }
      if (scale != 0) {
        a.scale = static_cast<float>(scale / (out_scale * static_cast<double>(a.rows * a.columns)));
      }
      a.out = out + (((image * w.out_height + y) * w.out_width + ox) * w.channels + c0) * item;
      const std::int64_t outputs = whole ? whole_end - ox : 1, side = std::min(outputs, at_once);
      a.outputs = outputs / side;
      a.channels = channels * side;
      a.step *= side;
      a.out_stride *= side;
      kernel.run(a);
      ox += a.outputs * side;  // what is left comes next
    }
  }
};

void run_windows(const WindowStep& step, const std::uint8_t* x, std::uint8_t* out) {
  const Windows& w = step.w;
  const std::int64_t rows = w.batch * w.out_height;
  const std::int64_t taps = std::min(w.kernel_h, w.height) * std::min(w.kernel_w, w.width);
  const std::int64_t work = checked_mul(w.outputs(), w.channels, taps);
  const int threads = threads_for(work, kWorkPerThread);
  const bool few = rows < 2 * threads && step.together() == 1;
  std::int64_t parts =
      few ? std::min<std::int64_t>(threads, ceil_div(w.channels, kTaskChannels)) : 1;
  const std::int64_t share = round_up(ceil_div(w.channels, parts), kTaskChannels);
  const std::int64_t at_once =
      items_per_task(rows, work, threads == 1 ? 64 * kWorkPerThread : kWorkPerThread);
  parts = ceil_div(w.channels, share);
  parallel_for(ceil_div(rows, at_once) * parts, threads, [&](std::int64_t task, int) {
    const std::int64_t c0 = task % parts * share, first = task / parts * at_once;
    for (std::int64_t row = first; row < std::min(rows, first + at_once); ++row) {
      step.run(x, out, row / w.out_height, row % w.out_height, c0,
               std::min(share, w.channels - c0));
    }
  });
}

WindowArgs arguments(Window op, const Windows& w) {
  WindowArgs args = {};
  args.op = op;
  args.step = w.stride_w * w.channels;
  args.row_stride = w.dilation_h * w.width * w.channels;
  args.column_stride = w.dilation_w * w.channels;
  args.out_stride = w.channels;
  return args;
}

std::unique_ptr<const GraphStep> pool(const WindowTensors& tensors, const WindowStep& step) {
  return make_step([=](std::uint8_t* arena) {
    run_windows(step, tensors.x.of<std::uint8_t>(arena), tensors.out.of<std::uint8_t>(arena));
  });
}

// Each channel so many times side by side; the images themselves where that is once.
template <class T>
class RepeatedChannels {
 public:
  RepeatedChannels(const Windows& w, const T* x, std::int64_t times) : images_(x) {
    if (times == 1) return;
    const std::int64_t pixels = w.batch * w.height * w.width, n = w.channels * times;
    memory_.emplace(checked_mul(pixels, checked_mul(n, sizeof(T))));
    T* const out = memory_->template as<T>();
    images_ = out;
    const int threads = threads_for(pixels * n, kWorkPerThread);
    parallel_for(w.batch * w.height, threads, [&](std::int64_t row, int) {
      const std::int64_t at = row * w.width * w.channels;
      T* next = out + at * times;
      for (std::int64_t i = 0; i < w.width * w.channels; ++i)
        next = std::fill_n(next, times, x[at + i]);
    });
  }
  const T* images() const { return images_; }

 private:
  std::optional<CallMemory> memory_;
  const T* images_;
};

// The windows of an input with n channels.
Windows with_channels(Windows w, std::int64_t n) {
  w.channels = n;
  return w;
}

struct DepthwiseSums {
  Windows w;  // of repeated channels
  DepthwiseWeight weight;
  std::vector<std::int32_t> offset;  // sixteen at least, as multiplier
  std::vector<float> multiplier;
  std::vector<std::int8_t> padding;
  CodeRange codes;

  void run(const std::int8_t* x, std::int8_t* out) const {
    const KernelRow<DepthwiseS8Args>& kernel = select<DepthwiseS8Args>(active_isas());
    const std::int64_t strips = ceil_div(w.out_height, weight.strip_rows());
    const std::int64_t work = checked_mul(w.outputs(), w.channels, w.kernel_h * w.kernel_w);
    const int threads = threads_for(work, kWorkPerThread);
    const std::int64_t span = depthwise_span(w.out_width, w.kernel_w, w.stride_w, w.dilation_w);
    ScratchLayout layout;
    layout.add(weight.window_rows(), sizeof(std::int8_t*));
    const std::int64_t own = layout.add(1, depthwise_scratch_bytes(weight.window_rows(), span));
    const std::int64_t bytes = layout.bytes();
    std::uint8_t* const memory = scratch(static_cast<std::size_t>(checked_mul(threads, bytes)));
    parallel_for(w.batch * strips, threads, [&](std::int64_t task, int worker) {
      std::uint8_t* const mine = memory + worker * bytes;
      auto* const rows = reinterpret_cast<const std::int8_t**>(mine);
      run_strip(kernel, x, out, task / strips, task % strips * weight.strip_rows(), rows,
                mine + own);
    });
  }

  std::size_t nbytes() const { return weight.nbytes() + 8 * offset.size() + padding.size(); }

 private:
  void run_strip(const KernelRow<DepthwiseS8Args>& kernel, const std::int8_t* x, std::int8_t* out,
                 std::int64_t image, std::int64_t y, const std::int8_t** rows,
                 std::uint8_t* own) const {
    for (std::int64_t i = 0; i < weight.window_rows(); ++i) {
      const std::int64_t at = y * w.stride_h + i * w.dilation_h - w.top;
      const bool inside = at >= 0 && at < w.height;
      rows[i] = inside ? x + (image * w.height + at) * w.width * w.channels : nullptr;
    }
    DepthwiseS8Args args = {};
    weight.describe(args);
    args.rows = rows;
    args.width = static_cast<std::int32_t>(w.width);
    args.padding = padding.data();
    args.stride_w = static_cast<std::int32_t>(w.stride_w);
    args.dilation_w = static_cast<std::int32_t>(w.dilation_w);
    args.left = static_cast<std::int32_t>(w.left);
    args.offset = offset.data();
    args.weight_sum = weight.weight_sum();
    args.multiplier = multiplier.data();
    args.low = codes.low;
    args.high = codes.high;
    args.zero_point = codes.zero_point;
    args.scratch = own;
    args.out_rows = static_cast<std::int32_t>(std::min(weight.strip_rows(), w.out_height - y));
    args.out_width = static_cast<std::int32_t>(w.out_width);
    args.out_stride = w.out_width * w.channels;
    args.out = out + (image * w.out_height + y) * args.out_stride;
    kernel.run(args);
  }
};

}  // namespace

std::unique_ptr<const GraphStep> depthwise_s8(const WindowTensors& tensors,
                                              const std::int8_t* weight, std::int64_t n,
                                              const std::int32_t* bias, const float* multiplier,
                                              std::int32_t zero_point, const CodeRange& codes) {
  const Windows& given = tensors.windows;
  const std::int64_t times = n / given.channels;
  const auto held = static_cast<std::size_t>(std::max<std::int64_t>(n, 16));
  DepthwiseSums sums = {
      with_channels(given, n),
      DepthwiseWeight(weight, given.kernel_h, given.kernel_w, n, given.stride_h, given.dilation_h),
      std::vector<std::int32_t>(held),
      std::vector<float>(held),
      std::vector<std::int8_t>(static_cast<std::size_t>(n), static_cast<std::int8_t>(zero_point)),
      codes};
  std::copy_n(multiplier, n, sums.multiplier.begin());
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int32_t correction = wrapping_mul(-zero_point, sums.weight.weight_sum()[i]);
    sums.offset[i] = wrapping_add(bias == nullptr ? 0 : bias[i], correction);
  }
  const std::size_t nbytes = sums.nbytes();
  return make_step(
      [=, sums = std::move(sums)](std::uint8_t* arena) {
        const RepeatedChannels<std::int8_t> x(tensors.windows, tensors.x.of<std::int8_t>(arena),
                                              times);
        sums.run(x.images(), tensors.out.of<std::int8_t>(arena));
      },
      nbytes);
}

std::unique_ptr<const GraphStep> depthwise_f32(const WindowTensors& tensors, const float* weight,
                                               std::int64_t n, const float* bias,
                                               const Bounds& bounds) {
  const std::int64_t times = n / tensors.windows.channels;
  const Windows w = with_channels(tensors.windows, n);
  WindowStep step = {w, arguments(Window::kWeightedF32, w), sizeof(float)};
  step.args.low = bounds.low;
  step.args.high = bounds.high;
  const std::int64_t taps = w.kernel_h * w.kernel_w, times_over = step.together();
  const std::int64_t width = n * times_over;
  step.args.w_row_stride = w.kernel_w * width;
  step.args.w_column_stride = width;
  // Rows of weights, then one of the bias, of zeros where it is null.
  std::vector<float> values(static_cast<std::size_t>((taps + 1) * width));
  for (std::int64_t i = 0; i < (taps + 1) * times_over; ++i) {
    const std::int64_t tap = i / times_over;
    const float* from = tap < taps ? weight + tap * n : bias;
    if (from != nullptr) std::copy_n(from, n, values.begin() + i * n);
  }
  const std::size_t nbytes = values.size() * sizeof(float);
  return make_step(
      [=, values = std::move(values)](std::uint8_t* arena) {
        WindowStep with_weight = step;
        with_weight.args.w = values.data();
        with_weight.args.bias = values.data() + taps * width;
        const RepeatedChannels<float> x(tensors.windows, tensors.x.of<float>(arena), times);
        run_windows(with_weight, reinterpret_cast<const std::uint8_t*>(x.images()),
                    tensors.out.of<std::uint8_t>(arena));
      },
      nbytes);
}

std::unique_ptr<const GraphStep> max_pool(const WindowTensors& tensors, bool codes,
                                          const Bounds& bounds) {
  const Windows& w = tensors.windows;
  WindowStep step = {w, arguments(codes ? Window::kMaxS8 : Window::kMaxF32, w),
                     codes ? 1 : std::int64_t{sizeof(float)}};
  step.args.low = bounds.low;
  step.args.high = bounds.high;
  return pool(tensors, step);
}

std::unique_ptr<const GraphStep> average_pool_f32(const WindowTensors& tensors,
                                                  const Bounds& bounds) {
  const Windows& w = tensors.windows;
  WindowStep step = {w, arguments(Window::kMeanF32, w), sizeof(float)};
  step.args.low = bounds.low;
  step.args.high = bounds.high;
  return pool(tensors, step);
}

std::unique_ptr<const GraphStep> average_pool_s8(const WindowTensors& tensors, double scale,
                                                 double out_scale, std::int32_t zero_point,
                                                 const CodeRange& codes) {
  const Windows& w = tensors.windows;
  WindowStep step = {w, arguments(Window::kMeanS8, w), 1, scale, out_scale};
  step.args.low = codes.low;
  step.args.high = codes.high;
  step.args.zero_point = zero_point;
  step.args.out_zero_point = codes.zero_point;
  return pool(tensors, step);
}

}  // namespace octavo
