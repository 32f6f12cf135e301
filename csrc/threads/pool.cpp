// SPDX-License-Identifier: Apache-2.0
#include "threads/pool.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

#include "threads/cpu_count.h"
#include "threads/float_mode.h"
#include "threads/interrupt.h"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace octavo {
namespace {

void pause_cpu() noexcept {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

thread_local bool inside_task = false;

class InsideTask {
 public:
  InsideTask() noexcept : before_(inside_task) { inside_task = true; }
  ~InsideTask() { inside_task = before_; }
  InsideTask(const InsideTask&) = delete;
  InsideTask& operator=(const InsideTask&) = delete;

 private:
  bool before_;
};

// Between tasks, not before the first: a job of one task asks nothing.
void run_alone(std::int64_t tasks, TaskFunction function, const void* context) {
  for (std::int64_t i = 0; i < tasks && (i == 0 || !interrupted()); ++i) function(context, i, 0);
}

constexpr auto kSpin = std::chrono::microseconds(50);
constexpr int kPausesPerYield = 64;

// Sets a flag back to false.
class Lowering {
 public:
  explicit Lowering(std::atomic<bool>& flag) noexcept : flag_(flag) {}
  ~Lowering() { flag_.store(false, std::memory_order_release); }
  Lowering(const Lowering&) = delete;
  Lowering& operator=(const Lowering&) = delete;

 private:
  std::atomic<bool>& flag_;
};

class Pool {
 public:
  void run(std::int64_t tasks, int threads, TaskFunction function, const void* context);

 private:
  static constexpr std::uint32_t kClosed = 1u << 31;

  void serve(std::int64_t tasks, int threads, TaskFunction function, const void* context);
  void work(int index);
  void take_tasks(int worker) noexcept;
  std::uint64_t wait_for_job(std::uint64_t seen);
  bool ensure_workers(int count);

  std::atomic<bool> busy_{false};  // set by the caller whose job the workers serve
  int workers_ = 0;                // that caller's

  // The job; written only while `entered_` is kClosed with nobody inside.
  TaskFunction function_ = nullptr;
  const void* context_ = nullptr;
  const std::atomic<bool>* interruption_ = nullptr;
  std::int64_t tasks_ = 0;
  int helpers_ = 0;
  std::mutex error_mutex_;
  std::exception_ptr error_;  // what the first task to throw threw
  alignas(64) std::atomic<std::int64_t> next_{0};
  alignas(64) std::atomic<std::uint32_t> entered_{kClosed};
  alignas(64) std::atomic<std::uint64_t> generation_{0};
  std::atomic<int> sleepers_{0};
  std::mutex sleep_mutex_;
  std::condition_variable wake_;
};

void Pool::take_tasks(int worker) noexcept {
  const InsideTask inside;
  try {
    do {
      const std::int64_t i = next_.fetch_add(1, std::memory_order_relaxed);
      if (i >= tasks_) return;
      function_(context_, i, worker);
    } while (!interrupted());
  } catch (...) {
    next_.store(tasks_, std::memory_order_relaxed);
    const std::lock_guard<std::mutex> guard(error_mutex_);
    if (!error_) error_ = std::current_exception();
  }
}

std::uint64_t Pool::wait_for_job(std::uint64_t seen) {
  const auto start = std::chrono::steady_clock::now();
  do {
    for (int i = 0; i < kPausesPerYield; ++i) {
      const std::uint64_t now = generation_.load(std::memory_order_acquire);
      if (now != seen) return now;
      pause_cpu();
    }
    std::this_thread::yield();
  } while (std::chrono::steady_clock::now() - start < kSpin);
  std::unique_lock<std::mutex> lock(sleep_mutex_);
  // Sequentially consistent with run(): either it sees this sleeper, or we see its generation.
  sleepers_.fetch_add(1);
  wake_.wait(lock, [&] { return generation_.load() != seen; });
  sleepers_.fetch_sub(1);
  return generation_.load(std::memory_order_acquire);
}

void Pool::work(int index) {
  const DefaultFloatMode mode;  // a new thread has its creator's
  std::uint64_t seen = 0;
  for (;;) {
    seen = wait_for_job(seen);
    if ((entered_.fetch_add(1, std::memory_order_acquire) & kClosed) == 0 && index < helpers_) {
      set_interruption_flag(interruption_);
      take_tasks(index + 1);
      set_interruption_flag(nullptr);
    }
    entered_.fetch_sub(1, std::memory_order_release);
  }
}

bool Pool::ensure_workers(int count) {
  try {
    for (; workers_ < count; ++workers_) {
      const int index = workers_;
      std::thread([this, index] { work(index); }).detach();
    }
  } catch (const std::exception&) {  // no thread to be had: fewer hands, same result
  }
  return workers_ > 0;
}

void Pool::run(std::int64_t tasks, int threads, TaskFunction function, const void* context) {
  if (busy_.exchange(true, std::memory_order_acquire)) {
    run_alone(tasks, function, context);
    return;
  }
  const Lowering busy(busy_);
  if (ensure_workers(threads - 1)) {
    serve(tasks, threads, function, context);
  } else {
    run_alone(tasks, function, context);
  }
}

void Pool::serve(std::int64_t tasks, int threads, TaskFunction function, const void* context) {
  // A worker that came late to the last job may still be stepping through entered_: it saw kClosed
  // and touches nothing else, so only its count must survive, hence fetch_and and no store.
  function_ = function;
  context_ = context;
  interruption_ = interruption_flag();
  tasks_ = tasks;
  helpers_ = threads - 1;
  next_.store(0, std::memory_order_relaxed);
  entered_.fetch_and(~kClosed, std::memory_order_release);
  generation_.fetch_add(1);
  if (sleepers_.load() > 0) {
    {
      const std::lock_guard<std::mutex> guard(sleep_mutex_);
    }
    wake_.notify_all();
  }
  take_tasks(0);
  entered_.fetch_or(kClosed, std::memory_order_acquire);
  for (int spins = 0; (entered_.load(std::memory_order_acquire) & ~kClosed) != 0; ++spins) {
    pause_cpu();
    if (spins % kPausesPerYield == kPausesPerYield - 1) {
      interrupted();  // workers see the flag at their next block
      std::this_thread::yield();
    }
  }
  const std::exception_ptr error = std::exchange(error_, nullptr);
  if (error) std::rethrow_exception(error);
}

// Never destroyed; replaced in a forked child, whose copy of the workers does not exist.
std::atomic<Pool*> g_pool{nullptr};

Pool& pool() {
  static const bool once = [] {
    g_pool.store(new Pool);
#if defined(__unix__) || defined(__APPLE__)
    pthread_atfork(nullptr, nullptr, [] { g_pool.store(new Pool); });
#endif
    return true;
  }();
  (void)once;
  return *g_pool.load(std::memory_order_acquire);
}

std::atomic<int>& thread_setting() {
  static std::atomic<int> n{usable_cpu_count()};
  return n;
}

}  // namespace

void set_num_threads(int n) { thread_setting().store(n < 1 ? 1 : n); }

int get_num_threads() noexcept { return thread_setting().load(std::memory_order_relaxed); }

int usable_threads() noexcept { return inside_task ? 1 : get_num_threads(); }

void parallel_run(std::int64_t tasks, int threads, TaskFunction function, const void* context) {
  const std::atomic<bool>* const stopped = interruption_flag();
  if (stopped != nullptr && stopped->load(std::memory_order_relaxed)) return;
  const DefaultFloatMode mode;
  if (static_cast<std::int64_t>(threads) > tasks) threads = static_cast<int>(tasks);
  if (threads <= 1) {
    run_alone(tasks, function, context);
    return;
  }
  pool().run(tasks, threads, function, context);
}

}  // namespace octavo
