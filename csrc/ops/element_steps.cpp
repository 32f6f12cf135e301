// SPDX-License-Identifier: Apache-2.0
#include "ops/element_steps.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "dispatch/registry.h"
#include "memory/result_cache.h"
#include "ops/float_rows.h"
#include "ops/quantize.h"
#include "ops/work_split.h"
#include "threads/interrupt.h"

namespace octavo {
namespace {

// Elements one thread does in about 5 us: int8 codes become float32 and back.
constexpr std::int64_t kElementsPerThread = 16384;
constexpr std::int64_t kShortRow = 256;

// body(begin, count) for stretches of [0, units), which together are so many elements.
template <class Body>
void for_stretches(std::int64_t units, std::int64_t elements, const Body& body) {
  const int threads = threads_for(elements, kElementsPerThread);
  std::int64_t stretch =
      items_per_task(units, elements, elements_per_task(threads, kElementsPerThread));
  if (stretch > 64) stretch -= stretch % 64;
  parallel_for(ceil_div(units, stretch), threads, [&](std::int64_t task, int) {
    body(task * stretch, std::min(stretch, units - task * stretch));
  });
}

// Rows of a, of n elements; so many rows at a time share a row of b.
struct RowPlan {
  std::int64_t m, n, rows_per_b;
};

void run_rows(const ElementwiseArgs& operation, const RowPlan& plan, const std::uint8_t* a,
              const std::uint8_t* b, std::uint8_t* out) {
  const KernelRow<ElementwiseArgs>& kernel = select<ElementwiseArgs>(active_isas());
  const std::int64_t item = operation.codes ? 1 : sizeof(float);
  // m rows of n elements, from element `at` on.
  const auto rows = [&](std::int64_t m, std::int64_t n, std::int64_t at, std::int64_t b_at) {
    ElementwiseArgs args = operation;
    args.a = a + at * item;
    args.b = b + b_at * item;
    args.out = out + at * item;
    args.a_stride = args.out_stride = n;
    args.b_stride = 0;
    args.m = m;
    args.n = n;
    kernel.run(args);
  };
  if (plan.m == 1) {
    for_stretches(plan.n, plan.n,
                  [&](std::int64_t at, std::int64_t count) { rows(1, count, at, at); });
    return;
  }
  const std::int64_t n = plan.n, share = plan.rows_per_b;
  for (std::int64_t row = 0; row < plan.m && (row == 0 || !interrupted()); row += share) {
    for_stretches(share, share * n, [&](std::int64_t at, std::int64_t count) {
      rows(count, n, (row + at) * n, row / share * n);
    });
  }
}

ParameterLayout one_parameter(std::int64_t n) { return {1, 1, n, 0}; }

void to_codes(const float* x, std::int64_t n, const CodeParameters& parameters, std::int8_t* out) {
  quantize_linear(one_parameter(n), {FloatType::kF32, x}, &parameters.scale, &parameters.zero_point,
                  CodeType::kS8, out);
}

void to_floats(const std::int8_t* codes, std::int64_t n, const CodeParameters& parameters,
               float* out) {
  dequantize_linear(one_parameter(n), {CodeType::kS8, codes}, {FloatType::kF32, &parameters.scale},
                    &parameters.zero_point, out);
}

}  // namespace

void apply(Elementwise function, const Bounds& bounds, std::int64_t m, std::int64_t n,
           Rows<const float> x, Rows<float> out) {
  ElementwiseArgs args = {};
  args.op = function;
  args.a = x.data;
  args.a_stride = x.stride;
  args.out = out.data;
  args.out_stride = out.stride;
  args.m = m;
  args.n = n;
  args.low = bounds.low;
  args.high = bounds.high;
  select<ElementwiseArgs>(active_isas()).run(args);
}

std::unique_ptr<const GraphStep> binary_step(const Operands& o, const ElementwiseArgs& args) {
  std::int64_t m = checked_mul(o.images, o.positions), n = o.channels, rows_per_b = o.positions;
  if (o.b_positions == o.positions) {  // whole images side by side
    n *= o.positions;
    m = o.images;
    rows_per_b = 1;
    if (o.b_images == o.images) {
      n *= o.images;
      m = 1;
    }
  }
  if (o.b_images == 1) rows_per_b = m;
  return make_step([=, plan = RowPlan{m, n, rows_per_b}](std::uint8_t* arena) {
    run_rows(args, plan, o.a.of<std::uint8_t>(arena), o.b.of<std::uint8_t>(arena),
             o.out.of<std::uint8_t>(arena));
  });
}

std::unique_ptr<const GraphStep> row_step(Tensor x, Tensor out, std::int64_t rows,
                                          std::int64_t channels, const void* b,
                                          const ElementwiseArgs& args) {
  // Short rows go side by side: what is left of sixteen lanes takes as long as some of them.
  std::int64_t together = 1;
  while (channels * together < kShortRow && rows % (2 * together) == 0) together *= 2;
  const std::int64_t bytes = channels * (args.codes ? 1 : std::int64_t{sizeof(float)});
  std::vector<std::uint8_t> row(static_cast<std::size_t>(bytes * together));
  for (std::int64_t i = 0; i < together; ++i) {
    std::memcpy(row.data() + i * bytes, b, static_cast<std::size_t>(bytes));
  }
  const RowPlan plan = {rows / together, channels * together, rows / together};
  const std::size_t held = row.size();
  return make_step(
      [=, row = std::move(row)](std::uint8_t* arena) {
        run_rows(args, plan, x.of<std::uint8_t>(arena), row.data(), out.of<std::uint8_t>(arena));
      },
      held);
}

std::unique_ptr<const GraphStep> function_step(Tensor x, Tensor out, Elementwise function,
                                               const Bounds& bounds) {
  return make_step([=](std::uint8_t* arena) {
    const std::int64_t n = x.bytes / std::int64_t{sizeof(float)};
    for_stretches(n, n, [&](std::int64_t at, std::int64_t count) {
      apply(function, bounds, 1, count, {x.of<float>(arena) + at, count},
            {out.of<float>(arena) + at, count});
    });
  });
}

std::unique_ptr<const GraphStep> activation_step(Tensor x, Tensor out, Activation activation,
                                                 const Bounds& bounds) {
  return make_step([=](std::uint8_t* arena) {
    const std::int64_t n = x.bytes / std::int64_t{sizeof(float)};
    auto* values = out.of<float>(arena);
    activate(activation, x.of<float>(arena), n, values);
    if (!bounds.any()) return;
    for_stretches(n, n, [&](std::int64_t at, std::int64_t count) {
      const Rows<float> stretch = {values + at, count};
      apply(Elementwise::kClamp, bounds, 1, count, {stretch.data, count}, stretch);
    });
  });
}

std::unique_ptr<const GraphStep> lookup_step(Tensor x, Tensor out, const std::int8_t* values) {
  std::array<std::int8_t, 256> table;
  std::copy(values, values + table.size(), table.begin());
  return make_step(
      [=](std::uint8_t* arena) {
        const KernelRow<LookupS8Args>& kernel = select<LookupS8Args>(active_isas());
        for_stretches(x.bytes, x.bytes, [&](std::int64_t at, std::int64_t count) {
          kernel.run({x.of<std::int8_t>(arena) + at, table.data(), out.of<std::int8_t>(arena) + at,
                      count});
        });
      },
      table.size());
}

std::unique_ptr<const GraphStep> quantize_step(Tensor x, Tensor out,
                                               const CodeParameters& parameters) {
  return make_step([=](std::uint8_t* arena) {
    to_codes(x.of<float>(arena), out.bytes, parameters, out.of<std::int8_t>(arena));
  });
}

std::unique_ptr<const GraphStep> dequantize_step(Tensor x, Tensor out,
                                                 const CodeParameters& parameters) {
  return make_step([=](std::uint8_t* arena) {
    to_floats(x.of<std::int8_t>(arena), x.bytes, parameters, out.of<float>(arena));
  });
}

std::unique_ptr<const GraphStep> softmax_f32(Tensor x, Tensor out, std::int64_t n) {
  return make_step([=](std::uint8_t* arena) {
    const std::int64_t m = x.bytes / std::int64_t{sizeof(float)} / n;
    softmax(m, n, {x.of<float>(arena), n}, {out.of<float>(arena), n});
  });
}

std::unique_ptr<const GraphStep> softmax_s8(Tensor x, Tensor out, std::int64_t n,
                                            const CodeParameters& in, const CodeParameters& codes) {
  return make_step([=](std::uint8_t* arena) {
    const CallMemory memory(checked_mul(x.bytes, sizeof(float)));
    auto* values = memory.as<float>();
    to_floats(x.of<std::int8_t>(arena), x.bytes, in, values);
    softmax(x.bytes / n, n, {values, n}, {values, n});
    to_codes(values, x.bytes, codes, out.of<std::int8_t>(arena));
  });
}

}  // namespace octavo
