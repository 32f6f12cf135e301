// SPDX-License-Identifier: Apache-2.0
// How the caller of a long call takes it back. Loops ask interrupted() between blocks of work and
// leave early; what they were to write is then of no use, which InterruptibleCall::stopped() tells
// the caller.
#pragma once
#include <atomic>
#include <chrono>

namespace octavo {

// While this lives, what the calling thread computes can be interrupted.
class InterruptibleCall {
 public:
  // Whether to stop. Asked on the calling thread alone, and not in the first 50 ms nor more often
  // than that; may run anything, other calls of the library included.
  using Question = bool (*)(void* context);

  InterruptibleCall(Question wants_to_stop, void* context) noexcept;
  ~InterruptibleCall();
  InterruptibleCall(const InterruptibleCall&) = delete;
  InterruptibleCall& operator=(const InterruptibleCall&) = delete;

  bool stopped() const noexcept { return stopped_.load(std::memory_order_relaxed); }

 private:
  friend bool interrupted() noexcept;
  bool ask() noexcept;

  Question wants_to_stop_;
  void* context_;
  std::atomic<bool> stopped_{false};
  std::chrono::steady_clock::time_point next_{};  // the epoch: no clock was read yet
  InterruptibleCall* outer_call_;
  const std::atomic<bool>* outer_flag_;
};

// Whether the call that this thread works for is to stop. About 25 ns on its caller's thread, for
// the clock; for others a flag.
bool interrupted() noexcept;

// For what must not be left half made: throws where interrupted() is true.
struct Interrupted {};
inline void interruption_point() {
  if (interrupted()) throw Interrupted{};
}

// How many calls of this thread wait while their question runs. Each needs its scratch afterwards.
int waiting_calls() noexcept;

// What the pool hands to its workers: the flag of the calling thread's call, which may be null.
const std::atomic<bool>* interruption_flag() noexcept;
void set_interruption_flag(const std::atomic<bool>* flag) noexcept;

}  // namespace octavo
