// SPDX-License-Identifier: Apache-2.0
#include "ops/linear_f32.h"

#include <algorithm>
#include <utility>

#include "dispatch/registry.h"
#include "ops/scratch.h"
#include "ops/work_split.h"
#include "threads/interrupt.h"

namespace octavo {
namespace {

constexpr std::int64_t kWidth = PanelsF32::kWidth;
// Multiply-adds one thread does in about 2 us.
constexpr std::int64_t kWorkPerThread = 200000;
// A task's sums, 96 KiB, are in L2 when they become outputs.
constexpr std::int64_t kTaskRows = 128, kTaskPanels = 12;
// On several threads tasks are smaller, and so many, if there are rows and panels enough.
constexpr std::int64_t kSharedTaskRows = 48, kTasksPerThread = 16;
// Twelve rows of as many inputs stay in L2 while panels pass.
constexpr std::int64_t kPartOfK = 8192;
// Multiply-adds between two questions whether the call is interrupted: 0.3 ms, or 70 ms scalar.
constexpr std::int64_t kWorkPerQuestion = std::int64_t{1} << 25;

// A task is some rows times some panels.
struct Plan {
  int threads;
  std::int64_t task_rows, task_panels, column_tasks, panels_at_once;
  std::int64_t stretch;  // rows that are multiplied first, if they are, before tasks take them

  Plan(std::int64_t m, const LinearF32& layer) {
    const PanelsF32& weight = *layer.shared_weight();
    threads = threads_for(checked_mul(m, weight.n(), weight.k()), kWorkPerThread);
    const std::int64_t row_tasks = ceil_div(m, threads > 1 ? kSharedTaskRows : kTaskRows);
    task_rows = ceil_div(m, row_tasks);
    task_panels = kTaskPanels;
    if (threads > 1) {
      const std::int64_t share = ceil_div(weight.panels() * row_tasks, kTasksPerThread * threads);
      task_panels = std::min(round_up(share, 4), kTaskPanels);
    }
    column_tasks = ceil_div(weight.panels(), task_panels);
    const std::int64_t panel_work = task_rows * kWidth * std::min(weight.k() + 1, kPartOfK);
    panels_at_once = std::max<std::int64_t>(kWorkPerQuestion / panel_work / 4 * 4, 2);
    stretch = layer.multiplier() == nullptr ? m : std::min(m, threads * kTaskRows);
  }

  std::int64_t sums_stride() const { return task_panels * kWidth; }
  std::int64_t sums() const { return task_rows * sums_stride(); }
};

// sums = rows of x times panels [p, p + panels).
void multiply(const PanelsF32& weight, Rows<const float> x, std::int64_t rows, std::int64_t p,
              std::int64_t panels, float* sums, std::int64_t stride) {
  const KernelRow<GemmF32Args>& kernel = select<GemmF32Args>(active_isas());
  GemmF32Args args;
  args.x_stride = x.stride;
  args.w_panel_stride = weight.panel_stride();
  args.c = sums;
  args.c_stride = stride;
  args.m = static_cast<std::int32_t>(rows);
  args.panels = static_cast<std::int32_t>(panels);
  std::int64_t k = 0;
  do {  // once even without inputs, which writes zeros
    args.x = x.data + k;
    args.w = weight.panel(p) + k * kWidth;
    args.k = std::min(kPartOfK, weight.k() - k);
    args.accumulate = k > 0;
    kernel.run(args);
    k += kPartOfK;
  } while (k < weight.k() && !interrupted());
}

class Product {
 public:
  Product(const LinearF32& layer, const Plan& plan, const Added& added, const Rows<void>& out)
      : layer_(layer), weight_(*layer.shared_weight()), plan_(plan), added_(added), out_(out) {}

  // Outputs of rows [begin, end), which x begins with; sums for each thread.
  void run(std::int64_t begin, std::int64_t end, Rows<const float> x, float* sums) const {
    const std::int64_t row_tasks = ceil_div(end - begin, plan_.task_rows);
    parallel_for(row_tasks * plan_.column_tasks, plan_.threads, [&](std::int64_t task, int worker) {
      float* own = sums + worker * plan_.sums();
      const std::int64_t row = task / plan_.column_tasks * plan_.task_rows;
      const std::int64_t rows = std::min(plan_.task_rows, end - begin - row);
      const std::int64_t first = task % plan_.column_tasks * plan_.task_panels;
      const std::int64_t panels = std::min(plan_.task_panels, weight_.panels() - first);
      for (std::int64_t p = 0; p < panels; p += plan_.panels_at_once) {
        if (p > 0 && interrupted()) return;
        multiply(weight_, {x.data + row * x.stride, x.stride}, rows, first + p,
                 std::min(plan_.panels_at_once, panels - p), own + p * kWidth, plan_.sums_stride());
      }
      finish(own, begin + row, rows, first * kWidth,
             std::min(panels * kWidth, weight_.n() - first * kWidth));
    });
  }

 private:
  // Outputs [m0, m0 + rows) x [n0, n0 + columns) of their sums.
  void finish(const float* sums, std::int64_t m0, std::int64_t rows, std::int64_t n0,
              std::int64_t columns) const {
    const auto at = [&](const Rows<const float>& values) {
      return values.data == nullptr ? nullptr : values.data + m0 * values.stride + n0;
    };
    EpilogueArgs args = {};
    args.acc = reinterpret_cast<const std::int32_t*>(sums);
    args.scaled = true;
    args.acc_stride = plan_.sums_stride();
    args.m = static_cast<std::int32_t>(rows);
    args.n = static_cast<std::int32_t>(columns);
    args.bias = layer_.bias() == nullptr ? nullptr : layer_.bias() + n0;
    args.addend = at(added_.before);
    args.addend_stride = added_.before.stride;
    args.residual = at(added_.after);
    args.residual_stride = added_.after.stride;
    args.activation = layer_.activation();
    args.relu_high = layer_.relu_high();
    args.out = static_cast<float*>(out_.data) + m0 * out_.stride + n0;
    args.out_stride = out_.stride;
    select<EpilogueArgs>(active_isas()).run(args);
  }

  const LinearF32& layer_;
  const PanelsF32& weight_;
  const Plan& plan_;
  const Added& added_;
  const Rows<void>& out_;
};

// out = rows of x (m, k), each times the multiplier.
void scale_rows(std::int64_t m, std::int64_t k, Rows<const float> x, const float* multiplier,
                int threads, float* out) {
  parallel_for(m, m == 1 ? 1 : threads, [&](std::int64_t row, int) {
    for (std::int64_t i = 0; i < k; ++i)
      out[row * k + i] = x.data[row * x.stride + i] * multiplier[i];
  });
}

}  // namespace

LinearF32::LinearF32(std::shared_ptr<const PanelsF32> weight, const float* bias,
                     Activation activation, const float* multiplier, float relu_high)
    : weight_(std::move(weight)),
      bias_(copy_floats(bias, n())),
      multiplier_(copy_floats(multiplier, k())),
      activation_(activation),
      relu_high_(relu_high) {}

void LinearF32::run(std::int64_t m, Rows<const float> x, const Added& added, Rows<void> out) const {
  if (m == 0 || n() == 0) return;
  const Plan plan(m, *this);
  const std::int64_t scaled = multiplier() == nullptr ? 0 : checked_mul(plan.stretch, k());
  ScratchLayout memory;
  memory.add(checked_mul(plan.threads, plan.sums()), sizeof(float));
  const std::int64_t scaled_at = memory.add(scaled, sizeof(float));
  std::uint8_t* bytes = scratch(static_cast<std::size_t>(memory.bytes()));
  auto* scaled_rows = reinterpret_cast<float*>(bytes + scaled_at);
  const Product product(*this, plan, added, out);
  for (std::int64_t row = 0; row < m && (row == 0 || !interrupted()); row += plan.stretch) {
    const std::int64_t end = std::min(m, row + plan.stretch);
    Rows<const float> in = {x.data + row * x.stride, x.stride};
    if (multiplier() != nullptr) {
      scale_rows(end - row, k(), in, multiplier(), plan.threads, scaled_rows);
      in = {scaled_rows, k()};
    }
    product.run(row, end, in, reinterpret_cast<float*>(bytes));
  }
}

}  // namespace octavo
