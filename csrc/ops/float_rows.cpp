// SPDX-License-Identifier: Apache-2.0
#include "ops/float_rows.h"

#include <algorithm>

#include "dispatch/registry.h"
#include "ops/work_split.h"

namespace octavo {
namespace {

// Elements one thread does in about 5 us.
constexpr std::int64_t kElementsPerThread = 8192;

}  // namespace

void activate(Activation activation, const float* x, std::int64_t n, float* out) {
  const KernelRow<ActivationArgs>& kernel = select<ActivationArgs>(active_isas());
  const int threads = threads_for(n, kElementsPerThread);
  const std::int64_t piece = elements_per_task(threads, kElementsPerThread);
  parallel_for(ceil_div(n, piece), threads, [&](std::int64_t task, int) {
    const std::int64_t at = task * piece;
    kernel.run({x + at, out + at, std::min(piece, n - at), activation});
  });
}

void layer_norm(std::int64_t m, std::int64_t n, Rows<const float> x, const float* weight,
                const float* bias, float eps, Rows<const float> residual, Rows<float> out) {
  if (n == 0) return;
  const KernelRow<LayerNormArgs>& kernel = select<LayerNormArgs>(active_isas());
  const int threads = threads_for(m * n, kElementsPerThread);
  const std::int64_t rows =
      items_per_task(m, m * n, elements_per_task(threads, kElementsPerThread));
  parallel_for(ceil_div(m, rows), threads, [&](std::int64_t task, int) {
    const std::int64_t m0 = task * rows;
    LayerNormArgs args;
    args.x = x.data + m0 * x.stride;
    args.x_stride = x.stride;
    args.residual = residual.data ? residual.data + m0 * residual.stride : nullptr;
    args.residual_stride = residual.stride;
    args.weight = weight;
    args.bias = bias;
    args.eps = eps;
    args.out = out.data + m0 * out.stride;
    args.out_stride = out.stride;
    args.m = std::min(rows, m - m0);
    args.n = n;
    kernel.run(args);
  });
}

void softmax(std::int64_t m, std::int64_t n, Rows<const float> x, Rows<float> out) {
  if (n == 0) return;
  const KernelRow<SoftmaxArgs>& kernel = select<SoftmaxArgs>(active_isas());
  const int threads = threads_for(m * n, kElementsPerThread);
  const std::int64_t rows =
      items_per_task(m, m * n, elements_per_task(threads, kElementsPerThread));
  parallel_for(ceil_div(m, rows), threads, [&](std::int64_t task, int) {
    const std::int64_t m0 = task * rows;
    kernel.run({x.data + m0 * x.stride, x.stride, out.data + m0 * out.stride, out.stride,
                std::min(rows, m - m0), n});
  });
}

}  // namespace octavo
