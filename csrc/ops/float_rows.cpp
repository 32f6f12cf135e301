// SPDX-License-Identifier: Apache-2.0
#include "ops/float_rows.h"

#include <algorithm>

#include "dispatch/registry.h"
#include "ops/work_split.h"

namespace octavo {
namespace {

// Elements one thread does in about 5 us.
constexpr std::int64_t kElementsPerThread = 8192;

// Rows [m0, m0 + count) of m, with n columns, as tasks on threads.
template <class Body>
void for_rows(std::int64_t m, std::int64_t n, const Body& body) {
  if (n == 0) return;
  const int threads = threads_for(m * n, kElementsPerThread);
  const std::int64_t rows =
      items_per_task(m, m * n, elements_per_task(threads, kElementsPerThread));
  parallel_for(ceil_div(m, rows), threads, [&](std::int64_t task, int) {
    const std::int64_t m0 = task * rows;
    body(m0, std::min(rows, m - m0));
  });
}

template <class T>
T* from(const Rows<T>& rows, std::int64_t m) {
  return rows.data ? rows.data + m * rows.stride : nullptr;
}

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
  const KernelRow<LayerNormArgs>& kernel = select<LayerNormArgs>(active_isas());
  for_rows(m, n, [&](std::int64_t m0, std::int64_t count) {
    kernel.run({from(x, m0), x.stride, from(residual, m0), residual.stride, weight, bias, eps,
                from(out, m0), out.stride, count, n});
  });
}

void rms_norm(std::int64_t m, std::int64_t n, Rows<const float> x, const float* weight, float eps,
              Rows<const float> addend, Rows<float> out) {
  const KernelRow<RmsNormArgs>& kernel = select<RmsNormArgs>(active_isas());
  for_rows(m, n, [&](std::int64_t m0, std::int64_t count) {
    kernel.run({from(x, m0), x.stride, weight, eps, from(addend, m0), addend.stride, from(out, m0),
                out.stride, count, n});
  });
}

void rotary(std::int64_t m, std::int64_t heads, std::int64_t d, Rows<const float> x,
            const RotaryTable& table, const std::int64_t* positions, Rows<float> out) {
  const KernelRow<RotaryArgs>& kernel = select<RotaryArgs>(active_isas());
  for_rows(m, heads * d, [&](std::int64_t m0, std::int64_t count) {
    kernel.run({from(x, m0), x.stride, table.cosine, table.sine, positions + m0, from(out, m0),
                out.stride, count, heads, d, table.pairs});
  });
}

void gated(Activation activation, std::int64_t m, std::int64_t n, Rows<const float> gate,
           Rows<const float> x, Rows<float> out) {
  const KernelRow<GatedArgs>& kernel = select<GatedArgs>(active_isas());
  for_rows(m, n, [&](std::int64_t m0, std::int64_t count) {
    kernel.run({from(gate, m0), gate.stride, from(x, m0), x.stride, from(out, m0), out.stride,
                count, n, activation});
  });
}

void softmax(std::int64_t m, std::int64_t n, Rows<const float> x, Rows<float> out) {
  const KernelRow<SoftmaxArgs>& kernel = select<SoftmaxArgs>(active_isas());
  for_rows(m, n, [&](std::int64_t m0, std::int64_t count) {
    kernel.run({from(x, m0), x.stride, from(out, m0), out.stride, count, n});
  });
}

}  // namespace octavo
