// SPDX-License-Identifier: Apache-2.0
#include "ops/probes.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include "dispatch/registry.h"
#include "kernels/dot_peak/kernel.h"
#include "kernels/stream_read/kernel.h"
#include "memory/aligned_buffer.h"
#include "memory/sizes.h"
#include "threads/interrupt.h"
#include "threads/pool.h"

namespace octavo {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// A turn lasts so long at least. One pass over L1 takes 100 ns; the clock of a phone ticks every
// 52 ns, and starting threads takes microseconds.
constexpr double kTurnSeconds = 5e-4;

// Runs turns of pass(thread) on all threads, `repeats` times after those that tell how many passes
// make a turn: the median seconds of a pass.
template <class Pass>
double time_passes(int repeats, int threads, const Pass& pass) {
  std::int64_t passes = 1;
  const auto turn = [&] {
    interruption_point();
    const double start = now();
    parallel_for(threads, threads, [&](std::int64_t thread, int) {
      for (std::int64_t done = 0; done < passes; ++done) pass(thread);
    });
    return now() - start;
  };
  while (turn() < kTurnSeconds) passes *= 2;
  std::vector<double> seconds;
  for (int i = 0; i < repeats; ++i) seconds.push_back(turn() / static_cast<double>(passes));
  return median(seconds);
}

}  // namespace

double probe_dot_peak(double seconds) {
  const KernelRow<DotPeakArgs>& kernel = select<DotPeakArgs>(active_isas());
  std::int64_t operations = 0;
  std::int32_t sink = 0;
  DotPeakArgs args = {1000, &operations, &sink};
  double best = 0;
  const double end = now() + seconds;
  do {
    interruption_point();
    const double start = now();
    kernel.run(args);
    const double elapsed = std::max(now() - start, 1e-9);
    if (elapsed < 1e-3) {
      args.iterations *= 2;  // too short for the clock
      continue;
    }
    best = std::max(best, static_cast<double>(operations) / elapsed);
  } while (now() < end || best == 0);
  return best * 1e-9;
}

double probe_read(std::int64_t bytes, int repeats) {
  const KernelRow<StreamReadArgs>& kernel = select<StreamReadArgs>(active_isas());
  const int threads = get_num_threads();
  const std::int64_t part = round_up(ceil_div(bytes, threads), 256);
  const AlignedBuffer buffer(static_cast<std::size_t>(checked_mul(part, threads)));
  std::memset(buffer.as<char>(), 1, buffer.size());
  std::vector<std::uint64_t> sinks(static_cast<std::size_t>(threads) * 8);
  const double seconds = time_passes(repeats, threads, [&](std::int64_t i) {
    kernel.run(
        {buffer.as<std::uint8_t>() + i * part, part, &sinks[static_cast<std::size_t>(i) * 8]});
  });
  return static_cast<double>(part * threads) / seconds * 1e-9;
}

double probe_copy(std::int64_t bytes, int repeats) {
  const int threads = get_num_threads();
  const std::int64_t part = round_up(ceil_div(bytes, threads), 64);
  const AlignedBuffer from(static_cast<std::size_t>(checked_mul(part, threads)));
  const AlignedBuffer to(from.size());
  std::memset(from.as<char>(), 1, from.size());
  std::memset(to.as<char>(), 2, to.size());
  const double seconds = time_passes(repeats, threads, [&](std::int64_t i) {
    std::memcpy(to.as<char>() + i * part, from.as<char>() + i * part,
                static_cast<std::size_t>(part));
  });
  return 2.0 * static_cast<double>(part * threads) / seconds * 1e-9;
}

}  // namespace octavo
