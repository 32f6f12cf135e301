// SPDX-License-Identifier: Apache-2.0
// The GIL while a call computes.
#pragma once
#include <nanobind/nanobind.h>

#include <chrono>
#include <optional>
#include <thread>
#include <type_traits>

#include "threads/interrupt.h"

namespace octavo {

namespace nb = nanobind;

// Whether this is the thread on which Python runs signal handlers.
bool is_main_thread() noexcept;
void remember_main_thread();

// Gives the GIL back while it lives. Unlike nanobind's class it survives the end of the
// interpreter: before 3.14 a thread that then asks for the GIL is unwound by pthread_exit, through
// frames that must not throw, which ends the process. As in 3.14, such a thread waits for that end
// instead.
class ReleasedGil {
 public:
  ReleasedGil() : state_(PyEval_SaveThread()) {}
  ~ReleasedGil() { take(); }
  ReleasedGil(const ReleasedGil&) = delete;
  ReleasedGil& operator=(const ReleasedGil&) = delete;

  // Runs the handlers of signals that have come; true where one raised, whose error is then set.
  bool run_signal_handlers() noexcept {
    take();
    const bool raised = PyErr_CheckSignals() != 0;
    state_ = PyEval_SaveThread();
    return raised;
  }

 private:
  void take() noexcept {
    try {
      PyEval_RestoreThread(state_);
    } catch (...) {
      for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
    }
  }

  PyThreadState* state_;
};

// What work() gives, without the GIL. On the main thread a signal whose handler raises (Ctrl-C)
// ends it: what it wrote is then of no use, and the handler's error comes out.
template <class Work>
auto without_gil(const Work& work) -> decltype(work()) {
  try {
    ReleasedGil gil;
    std::optional<InterruptibleCall> call;
    if (is_main_thread()) {
      call.emplace([](void* g) { return static_cast<ReleasedGil*>(g)->run_signal_handlers(); },
                   &gil);
    }
    const auto check = [&] {
      if (call && call->stopped()) throw Interrupted{};
    };
    if constexpr (std::is_void_v<decltype(work())>) {
      work();
      check();
    } else {
      auto result = work();
      check();
      return result;
    }
  } catch (const Interrupted&) {
    throw nb::python_error();
  }
}

}  // namespace octavo
