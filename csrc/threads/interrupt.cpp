// SPDX-License-Identifier: Apache-2.0
#include "threads/interrupt.h"

#include <utility>

namespace octavo {
namespace {

using Clock = std::chrono::steady_clock;

// With blocks that take as long at most, a call reacts within 0.1 s; asking costs it nothing that
// could be measured.
constexpr auto kInterval = std::chrono::milliseconds(50);

thread_local InterruptibleCall* t_call = nullptr;        // made by this thread
thread_local const std::atomic<bool>* t_flag = nullptr;  // of the call it works for
thread_local int t_waiting = 0;

}  // namespace

InterruptibleCall::InterruptibleCall(Question wants_to_stop, void* context) noexcept
    : wants_to_stop_(wants_to_stop),
      context_(context),
      outer_call_(std::exchange(t_call, this)),
      outer_flag_(std::exchange(t_flag, &stopped_)) {}

InterruptibleCall::~InterruptibleCall() {
  t_call = outer_call_;
  t_flag = outer_flag_;
}

bool InterruptibleCall::ask() noexcept {
  const Clock::time_point now = Clock::now();
  if (next_ == Clock::time_point{}) next_ = now + kInterval;
  if (now < next_) return false;
  // What it runs is not this call.
  t_call = nullptr;
  t_flag = nullptr;
  ++t_waiting;
  const bool stop = wants_to_stop_(context_);
  --t_waiting;
  t_call = this;
  t_flag = &stopped_;
  next_ = Clock::now() + kInterval;
  if (stop) stopped_.store(true, std::memory_order_relaxed);
  return stop;
}

bool interrupted() noexcept {
  if (t_flag == nullptr) return false;
  if (t_flag->load(std::memory_order_relaxed)) return true;
  return t_call != nullptr && t_call->ask();
}

int waiting_calls() noexcept { return t_waiting; }

const std::atomic<bool>* interruption_flag() noexcept { return t_flag; }

void set_interruption_flag(const std::atomic<bool>* flag) noexcept { t_flag = flag; }

}  // namespace octavo
