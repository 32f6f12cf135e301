// SPDX-License-Identifier: Apache-2.0
// A look between the operations and the thread pool: the linker puts functions of this header's
// source between them (octavo_watch_tasks in CMakeLists.txt).
#pragma once

namespace octavo_test {

// Called, unless null, by a thread before and after each task, where an operation asks whether it
// is interrupted, and around a job: where one thread can be made to take longer than another.
struct TaskWatcher {
  void (*begin)() = nullptr;  // work begins, or goes on after waiting
  void (*pause)() = nullptr;  // some work is done
};
extern TaskWatcher task_watcher;

}  // namespace octavo_test
