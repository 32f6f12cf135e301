// SPDX-License-Identifier: Apache-2.0
// The thread pool of the library.
//
// * No thread starts before the first call that can use one.
// * One call uses the workers at a time; another Python thread that calls meanwhile computes its
//   work alone instead of waiting, so concurrent callers never block or oversubscribe each other.
// * A caller never waits for a sleeping worker: it takes tasks itself, and workers that wake late
//   find the job closed. It waits only for workers that are inside a task.
// * Threads that find no task any more help those that have one still: a job inside a task is
//   theirs too. So a slow core holds the others by one task of what it computes last, not by all.
// * After a job workers watch for the next for at most ~50 us, giving the core away to any thread
//   that wants it, then sleep on a condition variable.
// * A forked child starts with a fresh pool; the parent's is forgotten, never joined.
// * Once the call that a job belongs to is interrupted (threads/interrupt.h), no task starts.
// * No task starts after one has thrown either; what it threw comes out of the job's call.
// * Tasks run in the default floating-point mode (threads/float_mode.h), on every thread.
// * Workers are detached and the pool is never destroyed, so process exit cannot hang on it.
#pragma once
#include <cstdint>
#include <type_traits>

namespace octavo {

void set_num_threads(int n);  // n >= 1
int get_num_threads() noexcept;

// How many threads an operation may use: those; inside a task, where the others have theirs, one
// and those that have run out of tasks.
int usable_threads() noexcept;
int idle_threads() noexcept;  // the latter; 0 outside of tasks

// How many tasks this thread is inside of, each begun in the one before.
int task_depth() noexcept;

using TaskFunction = void (*)(const void* context, std::int64_t task, int worker);

// Calls function(context, i, worker) for every i in [0, tasks), on at most `threads` threads, the
// calling one included; `worker` in [0, threads) is the same for one thread throughout a job, so it
// can name that thread's part of a scratch buffer. Throws what a task throws, once all that have
// begun are done.
void parallel_run(std::int64_t tasks, int threads, TaskFunction function, const void* context);

template <class Body>
void parallel_for(std::int64_t tasks, int threads, const Body& body) {
  parallel_run(
      tasks, threads,
      [](const void* context, std::int64_t task, int worker) {
        (*static_cast<const Body*>(context))(task, worker);
      },
      &body);
}

}  // namespace octavo
