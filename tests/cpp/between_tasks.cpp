// SPDX-License-Identifier: Apache-2.0
#include "between_tasks.h"

#include "threads/interrupt.h"
#include "threads/pool.h"

// What --wrap makes of octavo::parallel_run and octavo::interrupted.
extern "C" {
void real_parallel_run(std::int64_t, int, octavo::TaskFunction,
                       const void*) __asm__("__real__ZN6octavo12parallel_runEliPFvPKvliES1_");
void wrap_parallel_run(std::int64_t, int, octavo::TaskFunction,
                       const void*) __asm__("__wrap__ZN6octavo12parallel_runEliPFvPKvliES1_");
bool real_interrupted() noexcept __asm__("__real__ZN6octavo11interruptedEv");
bool wrap_interrupted() noexcept __asm__("__wrap__ZN6octavo11interruptedEv");
}

namespace octavo_test {

TaskWatcher task_watcher;

namespace {

struct Watched {
  octavo::TaskFunction function;
  const void* context;
};

void begin() {
  if (task_watcher.begin != nullptr) task_watcher.begin();
}

void pause() {
  if (task_watcher.pause != nullptr) task_watcher.pause();
}

void run_watched(const void* context, std::int64_t task, int worker) {
  const auto& watched = *static_cast<const Watched*>(context);
  begin();
  watched.function(watched.context, task, worker);
  pause();
}

}  // namespace
}  // namespace octavo_test

void wrap_parallel_run(std::int64_t tasks, int threads, octavo::TaskFunction function,
                       const void* context) {
  octavo_test::pause();
  const octavo_test::Watched watched = {function, context};
  real_parallel_run(tasks, threads, octavo_test::run_watched, &watched);
  octavo_test::begin();
}

bool wrap_interrupted() noexcept {
  octavo_test::pause();
  return real_interrupted();
}
