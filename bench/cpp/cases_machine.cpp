// SPDX-License-Identifier: Apache-2.0
// The machine's limits. Threads meet after each call, and one that has to wake takes tens of
// microseconds: a call is some tenths of a millisecond, kTurn or kTurnBytes from an L1.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <utility>

#include "cases.h"
#include "dispatch/registry.h"
#include "memory/aligned_buffer.h"
#include "memory/sizes.h"
#include "threads/pool.h"

namespace octavo_bench {
namespace {

using namespace octavo;

constexpr std::int64_t kTurnBytes = 64 << 20;
constexpr std::chrono::microseconds kTurn(200);
constexpr std::int64_t kReadUnit = 256;  // of stream_read

// Whole passes of a thread over its part, so that a turn is long enough.
std::int64_t passes_over(std::int64_t part) { return std::max<std::int64_t>(1, kTurnBytes / part); }

// A part for each thread.
std::int64_t part_of(std::int64_t bytes, int threads) {
  return round_up(std::max<std::int64_t>(ceil_div(bytes, threads), kReadUnit), kReadUnit);
}

std::shared_ptr<AlignedBuffer> filled(std::int64_t bytes) {
  auto buffer = std::make_shared<AlignedBuffer>(static_cast<std::size_t>(bytes));
  std::memset(buffer->as<char>(), 1, buffer->size());  // its pages are there, and its own
  return buffer;
}

}  // namespace

Case dot_peak(int threads) {
  const KernelRow<DotPeakArgs>& kernel = select<DotPeakArgs>(active_isas());
  std::int64_t iterations = 1, each = 0;
  std::int32_t sink = 0;
  for (bool enough = false; !enough; iterations *= enough ? 1 : 2) {
    const auto start = std::chrono::steady_clock::now();
    kernel.run({iterations, &each, &sink});
    enough = std::chrono::steady_clock::now() - start >= kTurn;
  }
  const auto prepare = [=, &kernel]() -> Call {
    return [=, &kernel] {
      parallel_for(threads, threads, [&](std::int64_t, int) {
        std::int64_t operations = 0;
        std::int32_t result = 0;
        kernel.run({iterations, &operations, &result});
        benchmark::DoNotOptimize(result);
      });
    };
  };
  const double operations = static_cast<double>(each * threads);
  return {"dot_peak", "int8", operations, 0, Limit::kNone, 0, prepare};
}

Case read_buffer(const std::string& name, std::int64_t bytes, int threads) {
  const std::int64_t part = part_of(bytes, threads), passes = passes_over(part);
  const auto prepare = [=]() -> Call {
    const KernelRow<StreamReadArgs>& kernel = select<StreamReadArgs>(active_isas());
    const auto buffer = filled(part * threads);
    return [=, &kernel] {
      parallel_for(threads, threads, [&](std::int64_t i, int) {
        std::uint64_t sink = 0;
        for (std::int64_t pass = 0; pass < passes; ++pass) {
          kernel.run({buffer->as<std::uint8_t>() + i * part, part, &sink});
        }
        benchmark::DoNotOptimize(sink);
      });
    };
  };
  return {"read",
          name,
          0,
          static_cast<double>(part * passes * threads),
          Limit::kNone,
          static_cast<double>(part * threads),
          prepare};
}

Case copy_buffer(const std::string& name, std::int64_t bytes, int threads) {
  const std::int64_t part = part_of(bytes / 2, threads), passes = passes_over(part);
  const auto prepare = [=]() -> Call {
    const auto from = filled(part * threads), to = filled(part * threads);
    return [=] {
      parallel_for(threads, threads, [&](std::int64_t i, int) {
        const std::int64_t at = i * part;
        for (std::int64_t pass = 0; pass < passes; ++pass) {
          std::memcpy(to->as<char>() + at, from->as<char>() + at, static_cast<std::size_t>(part));
          benchmark::ClobberMemory();  // or passes could become one
        }
      });
    };
  };
  const double moved = 2.0 * static_cast<double>(part * passes * threads);
  return {"copy", name, 0, moved, Limit::kNone, 2.0 * static_cast<double>(part * threads), prepare};
}

}  // namespace octavo_bench
