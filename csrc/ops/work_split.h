// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cstdint>

#include "memory/sizes.h"
#include "threads/interrupt.h"
#include "threads/pool.h"

namespace octavo {

// Threads worth waking for `work` units, of which one thread does `per_thread` in a few us.
inline int threads_for(std::int64_t work, std::int64_t per_thread) {
  const std::int64_t limit = usable_threads();
  return static_cast<int>(std::clamp<std::int64_t>(work / per_thread, 1, limit));
}

// Elements in a task: what is worth a thread, or on one thread what takes a fraction of a
// millisecond: between tasks a call asks whether it is interrupted.
inline std::int64_t elements_per_task(int threads, std::int64_t per_thread) {
  return threads == 1 ? 64 * per_thread : per_thread;
}

// How many of `items`, which together are `work` units, make one task of about `per_task` units. At
// most 2^30: kernels count the rows of a task in 32 bits, and rows without columns are no work.
inline std::int64_t items_per_task(std::int64_t items, std::int64_t work, std::int64_t per_task) {
  constexpr std::int64_t kMost = std::int64_t{1} << 30;
  if (items == 0 || work <= per_task) return std::clamp<std::int64_t>(items, 1, kMost);
  return std::clamp<std::int64_t>(per_task / ceil_div(work, items), 1, kMost);
}

// Into how many parts attention splits the queries of each of `pairs` heads: some tasks for a
// thread, but of no fewer queries than pay for packing the head's keys and values once more.
inline std::int64_t query_parts(int threads, std::int64_t pairs, std::int64_t queries) {
  constexpr std::int64_t kTasksPerThread = 3, kQueriesPerTask = 48;
  if (threads == 1) return 1;
  return std::min(ceil_div(threads * kTasksPerThread, pairs),
                  std::max<std::int64_t>(1, queries / kQueriesPerTask));
}

// Calls step(begin, end, worker) for all of [0, units), `at_once` a time and as worker 0, until the
// call is interrupted. Inside a task, what is left when other threads run out of tasks is shared
// with them, unit by unit.
template <class Step>
void run_steps(std::int64_t units, std::int64_t at_once, const Step& step) {
  for (std::int64_t i = 0; i < units && (i == 0 || !interrupted()); i += at_once) {
    if (const int idle = idle_threads(); idle > 0) {
      parallel_for(units - i, 1 + idle,
                   [&](std::int64_t task, int worker) { step(i + task, i + task + 1, worker); });
      return;
    }
    step(i, std::min(i + at_once, units), 0);
  }
}

}  // namespace octavo
