// SPDX-License-Identifier: Apache-2.0
#include "ops/quantize.h"

#include <algorithm>

#include "dispatch/registry.h"
#include "ops/scratch.h"
#include "ops/work_split.h"

namespace octavo {
namespace {

// One thread does this many elements in about 5 us.
constexpr std::int64_t kElementsPerThread = 32768;
// An output beyond this size is stored past the caches: it would push out everything else, and each
// line would be read before it is written.
constexpr std::int64_t kStreamBytes = 8 << 20;
constexpr std::int64_t kStreamAlignment = 64;

const char* shifted(const void* data, std::int64_t bytes) {
  return data == nullptr ? nullptr : static_cast<const char*>(data) + bytes;
}

// Elements before the first aligned one of an output that is to be streamed.
std::int64_t unaligned_head(const void* out, std::int64_t item, std::int64_t n) {
  const auto address = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(out));
  return std::min(n, (round_up(address, kStreamAlignment) - address) / item);
}

// Runs a kernel on args; where `stream` asks for it, the unaligned head apart with plain stores.
// `advance(args, elements)` moves all pointers.
template <class Args, class Advance>
void run_streaming(const KernelRow<Args>& kernel, Args args, std::int64_t item, bool stream,
                   const Advance& advance) {
  args.stream = stream && args.rows == 1;
  if (args.stream) {
    const std::int64_t head = unaligned_head(args.y, item, args.n);
    Args first = args;
    first.n = head;
    first.stream = false;
    kernel.run(first);
    advance(args, head);
    args.n -= head;
  }
  kernel.run(args);
}

}  // namespace

std::int64_t element_bytes(FloatType type) { return type == FloatType::kF32 ? 4 : 2; }

std::int64_t element_bytes(CodeType type) {
  switch (type) {
    case CodeType::kS8:
    case CodeType::kU8: return 1;
    case CodeType::kS16:
    case CodeType::kU16: return 2;
    case CodeType::kS32: return 4;
  }
  return 4;
}

void quantize_linear(const ParameterLayout& layout, FloatData x, const void* scale,
                     const void* zero_point, CodeType type, void* codes) {
  const KernelRow<QuantizeLinearArgs>& kernel = select<QuantizeLinearArgs>(active_isas());
  const std::int64_t x_item = element_bytes(x.type), item = element_bytes(type);
  const int threads = threads_for(layout.size(), kElementsPerThread);
  const ParameterRuns runs(layout, elements_per_task(threads, kElementsPerThread));
  const bool stream = layout.size() * item >= kStreamBytes;
  parallel_for(runs.tasks(), threads, [&](std::int64_t task, int) {
    runs.visit(task, [&](const ParameterRun& run) {
      QuantizeLinearArgs args;
      args.float_type = x.type;
      args.code_type = type;
      args.x = shifted(x.data, run.at * x_item);
      args.scale = shifted(scale, run.parameter * x_item);
      args.zero_point = shifted(zero_point, run.parameter * item);
      args.y = static_cast<char*>(codes) + run.at * item;
      args.rows = run.rows;
      args.n = run.n;
      args.parameter_step = run.parameter_step;
      args.per_element = run.per_element;
      run_streaming(kernel, args, item, stream, [&](QuantizeLinearArgs& a, std::int64_t n) {
        a.x = shifted(a.x, n * x_item);
        a.y = static_cast<char*>(a.y) + n * item;
        if (!a.per_element) return;
        a.scale = shifted(a.scale, n * x_item);
        a.zero_point = shifted(a.zero_point, n * item);
      });
    });
  });
}

void dequantize_linear(const ParameterLayout& layout, CodeData codes, FloatData scale,
                       const void* zero_point, void* out) {
  const KernelRow<DequantizeLinearArgs>& kernel = select<DequantizeLinearArgs>(active_isas());
  const std::int64_t q_item = element_bytes(codes.type), item = element_bytes(scale.type);
  const int threads = threads_for(layout.size(), kElementsPerThread);
  const ParameterRuns runs(layout, elements_per_task(threads, kElementsPerThread));
  const bool stream = layout.size() * item >= kStreamBytes;
  parallel_for(runs.tasks(), threads, [&](std::int64_t task, int) {
    runs.visit(task, [&](const ParameterRun& run) {
      DequantizeLinearArgs args;
      args.code_type = codes.type;
      args.float_type = scale.type;
      args.q = shifted(codes.data, run.at * q_item);
      args.scale = shifted(scale.data, run.parameter * item);
      args.zero_point = shifted(zero_point, run.parameter * q_item);
      args.y = static_cast<char*>(out) + run.at * item;
      args.rows = run.rows;
      args.n = run.n;
      args.parameter_step = run.parameter_step;
      args.per_element = run.per_element;
      run_streaming(kernel, args, item, stream, [&](DequantizeLinearArgs& a, std::int64_t n) {
        a.q = shifted(a.q, n * q_item);
        a.y = static_cast<char*>(a.y) + n * item;
        if (!a.per_element) return;
        a.scale = shifted(a.scale, n * item);
        a.zero_point = shifted(a.zero_point, n * q_item);
      });
    });
  });
}

void quantize_dynamic(std::int64_t m, std::int64_t k, Rows<const float> x, bool symmetric,
                      std::int8_t* codes, float* scale, std::int32_t* zero_point) {
  const KernelRow<QuantizeRowsArgs>& kernel = select<QuantizeRowsArgs>(active_isas());
  const int threads = threads_for(m * k, kElementsPerThread);
  const std::int64_t rows =
      items_per_task(m, m * k, elements_per_task(threads, kElementsPerThread));
  parallel_for(ceil_div(m, rows), threads, [&](std::int64_t task, int) {
    const std::int64_t m0 = task * rows;
    QuantizeRowsArgs args;
    args.x = x.data + m0 * x.stride;
    args.x_stride = x.stride;
    args.multiplier = nullptr;
    args.m = static_cast<std::int32_t>(std::min(rows, m - m0));
    args.k = static_cast<std::int32_t>(k);
    args.symmetric = symmetric;
    args.static_scale = nullptr;
    args.static_zero_point = 0;
    args.form = ActivationEncoding::kS8;
    args.a = reinterpret_cast<std::uint8_t*>(codes) + m0 * k;
    args.a_stride = k;
    args.a_abs_offset = 0;
    args.pad = false;
    args.scale = scale + m0;
    args.zero_point = zero_point + m0;
    kernel.run(args);
  });
}

void widen(const std::uint16_t* x, bool bfloat, std::int64_t n, float* out) {
  const KernelRow<WidenArgs>& kernel = select<WidenArgs>(active_isas());
  const int threads = threads_for(n, kElementsPerThread);
  const std::int64_t piece = elements_per_task(threads, kElementsPerThread);
  parallel_for(ceil_div(n, piece), threads, [&](std::int64_t task, int) {
    const std::int64_t at = task * piece;
    kernel.run({x + at, out + at, std::min(piece, n - at), bfloat});
  });
}

void embedding(const std::int8_t* codes, const float* scale, std::int64_t d,
               const std::int64_t* ids, std::int64_t count, float* out) {
  const KernelRow<DequantizeLinearArgs>& kernel = select<DequantizeLinearArgs>(active_isas());
  const int threads = threads_for(count * d, kElementsPerThread);
  const std::int64_t rows =
      items_per_task(count, count * d, elements_per_task(threads, kElementsPerThread));
  parallel_for(ceil_div(count, rows), threads, [&](std::int64_t task, int) {
    const std::int64_t end = std::min(count, (task + 1) * rows);
    for (std::int64_t i = task * rows; i < end; ++i) {
      DequantizeLinearArgs args;
      args.code_type = CodeType::kS8;
      args.float_type = FloatType::kF32;
      args.q = codes + ids[i] * d;
      args.scale = scale + ids[i];
      args.zero_point = nullptr;
      args.y = out + i * d;
      args.rows = 1;
      args.n = d;
      args.parameter_step = 0;
      args.per_element = false;
      args.stream = false;
      kernel.run(args);
    }
  });
}

}  // namespace octavo
