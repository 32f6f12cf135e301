// SPDX-License-Identifier: Apache-2.0
#include "threads/pool.h"

#include <algorithm>
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

thread_local int depth = 0;  // tasks that this thread is inside of, each in the one before

class InsideTask {
 public:
  InsideTask() noexcept { ++depth; }
  ~InsideTask() { --depth; }
  InsideTask(const InsideTask&) = delete;
  InsideTask& operator=(const InsideTask&) = delete;
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

class Counted {
 public:
  explicit Counted(std::atomic<int>& count) noexcept : count_(count) { count_.fetch_add(1); }
  ~Counted() { count_.fetch_sub(1); }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

 private:
  std::atomic<int>& count_;
};

// A call of parallel_run that several threads work on. Its tasks come in as many ranges as there
// are threads, up to a few: a thread takes those of its own in turn, which lie side by side and are
// its own in the next call too, and then what is left of the others'.
struct Job {
  // Of `state`: whether nobody may enter any more, how many threads found no task any more, and
  // how many are inside. Closed and with nobody inside the job is over.
  static constexpr std::uint32_t kClosed = 1u << 31, kOneIdle = 1u << 16, kInside = kOneIdle - 1;
  static constexpr int kRanges = 8;
  // Neighbouring lines travel together on some CPUs.
  static constexpr std::size_t kApart = 128;
  struct alignas(kApart) Range {
    std::atomic<std::int64_t> next{0};
  };

  // One line has all that a thread needs to enter and leave.
  alignas(kApart) std::atomic<std::uint32_t> state{kClosed};
  std::atomic<int> helpers{0};  // numbers given out
  // Written only while the job is over, and read inside.
  TaskFunction function = nullptr;
  const void* context = nullptr;
  const std::atomic<bool>* interruption = nullptr;
  std::int64_t tasks = 0;
  int threads = 0, ranges = 1;
  std::uint64_t number = 0;  // of the job, among those that have been here
  Range range[kRanges];
  std::mutex error_mutex;
  std::exception_ptr error;        // what the first task to throw threw
  std::atomic<bool> taken{false};  // by a caller

  std::int64_t begin(int r) const noexcept { return tasks * r / ranges; }
  void open(std::int64_t task_count, int thread_count) noexcept;
  // Whether the calling thread is inside now: not where the job is closed.
  bool enter() noexcept;
  void leave(bool idle = false) noexcept {
    state.fetch_add((idle ? kOneIdle : 0) - 1, std::memory_order_release);
  }
  // By its caller, who finds no task any more.
  void close() noexcept { state.fetch_add(kClosed + kOneIdle, std::memory_order_acquire); }
  bool is_over() const noexcept { return (state.load(std::memory_order_acquire) & kInside) == 0; }
  int idle() const noexcept {
    return static_cast<int>((state.load(std::memory_order_relaxed) & ~kClosed) / kOneIdle);
  }
  bool take_idle() noexcept;
  void give_idle() noexcept { state.fetch_add(kOneIdle, std::memory_order_relaxed); }
  void take_tasks(int worker) noexcept;
};

void Job::open(std::int64_t task_count, int thread_count) noexcept {
  tasks = task_count;
  threads = thread_count;
  ++number;
  ranges = std::min(threads, kRanges);
  for (int r = 0; r < ranges; ++r) range[r].next.store(begin(r), std::memory_order_relaxed);
  helpers.store(0, std::memory_order_relaxed);
  state.store(0, std::memory_order_release);
}

bool Job::enter() noexcept {
  std::uint32_t seen = state.load(std::memory_order_relaxed);
  while ((seen & kClosed) == 0) {
    if (state.compare_exchange_weak(seen, seen + 1, std::memory_order_acquire,
                                    std::memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

bool Job::take_idle() noexcept {
  std::uint32_t seen = state.load(std::memory_order_relaxed);
  while ((seen & ~kClosed) >= kOneIdle) {
    if (state.compare_exchange_weak(seen, seen - kOneIdle, std::memory_order_relaxed)) return true;
  }
  return false;
}

void Job::take_tasks(int worker) noexcept {
  const InsideTask inside;
  try {
    for (int i = 0; i < ranges; ++i) {
      const int r = (worker + i) % ranges;
      while (range[r].next.load(std::memory_order_relaxed) < begin(r + 1)) {
        const std::int64_t task = range[r].next.fetch_add(1, std::memory_order_relaxed);
        if (task >= begin(r + 1)) break;
        if (interrupted()) return;
        function(context, task, worker);
      }
    }
  } catch (...) {
    for (Range& each : range) each.next.store(tasks, std::memory_order_relaxed);
    const std::lock_guard<std::mutex> guard(error_mutex);
    if (!error) error = std::current_exception();
  }
}

class Pool {
 public:
  void run(std::int64_t tasks, int threads, TaskFunction function, const void* context);
  void share(std::int64_t tasks, int threads, TaskFunction function, const void* context);
  int idle() const noexcept { return main_.idle(); }

 private:
  void serve(Job& job, std::int64_t tasks, int threads, TaskFunction function, const void* context);
  void announce();
  void work(int index);
  void enter_main(int index, std::uint64_t& last_job);
  void help_shared();
  std::uint64_t wait_for_job(std::uint64_t seen);
  bool ensure_workers(int count);

  static constexpr int kShared = 16;  // more tasks at a time than these share nothing

  Job main_;
  Job shared_[kShared];       // of tasks of main_
  std::atomic<int> open_{0};  // of shared_
  int workers_ = 0;           // for the caller that has taken main_
  alignas(64) std::atomic<std::uint64_t> generation_{0};
  std::atomic<int> sleepers_{0};
  std::mutex sleep_mutex_;
  std::condition_variable wake_;
};

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
  // Sequentially consistent with announce(): either it sees this sleeper, or we its generation.
  sleepers_.fetch_add(1);
  wake_.wait(lock, [&] { return generation_.load() != seen; });
  sleepers_.fetch_sub(1);
  return generation_.load(std::memory_order_acquire);
}

void Pool::announce() {
  generation_.fetch_add(1);
  if (sleepers_.load() == 0) return;
  {
    const std::lock_guard<std::mutex> guard(sleep_mutex_);
  }
  wake_.notify_all();
}

void Pool::work(int index) {
  const DefaultFloatMode mode;  // a new thread has its creator's
  std::uint64_t seen = 0, last_job = 0;
  for (;;) {
    seen = wait_for_job(seen);
    enter_main(index, last_job);
    help_shared();
  }
}

// Once in each job: a shared one wakes who has run out of tasks, and is idle already.
void Pool::enter_main(int index, std::uint64_t& last_job) {
  if (!main_.enter()) return;
  const bool takes_part = index + 1 < main_.threads && main_.number != last_job;
  last_job = main_.number;
  if (takes_part) {
    set_interruption_flag(main_.interruption);
    main_.take_tasks(index + 1);
    set_interruption_flag(nullptr);
  }
  main_.leave(takes_part);
}

// Works on what tasks share, in the place of an idle thread, whichever: never are there more at
// work than the caller wants.
void Pool::help_shared() {
  if (open_.load(std::memory_order_relaxed) == 0) return;
  for (Job& job : shared_) {
    if (!job.enter()) continue;
    if (main_.take_idle()) {
      const int worker = 1 + job.helpers.fetch_add(1, std::memory_order_relaxed);
      const std::atomic<bool>* const before = interruption_flag();
      set_interruption_flag(job.interruption);
      if (worker < job.threads) job.take_tasks(worker);
      set_interruption_flag(before);
      main_.give_idle();
    }
    job.leave();
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
  if (main_.taken.exchange(true, std::memory_order_acquire)) {
    run_alone(tasks, function, context);
    return;
  }
  const Lowering taken(main_.taken);
  if (ensure_workers(threads - 1)) {
    serve(main_, tasks, threads, function, context);
  } else {
    run_alone(tasks, function, context);
  }
}

void Pool::share(std::int64_t tasks, int threads, TaskFunction function, const void* context) {
  for (Job& job : shared_) {
    if (idle() == 0) break;
    if (job.taken.exchange(true, std::memory_order_acquire)) continue;
    const Lowering taken(job.taken);
    const Counted open(open_);
    serve(job, tasks, threads, function, context);
    return;
  }
  run_alone(tasks, function, context);
}

void Pool::serve(Job& job, std::int64_t tasks, int threads, TaskFunction function,
                 const void* context) {
  job.function = function;
  job.context = context;
  job.interruption = interruption_flag();
  job.open(tasks, threads);
  announce();
  job.take_tasks(0);
  job.close();
  std::uint64_t seen = 0;
  for (int spins = 0; !job.is_over(); ++spins) {
    pause_cpu();
    // Like a worker once for each announcement: more often would only delay those at work.
    if (const std::uint64_t now = generation_.load(std::memory_order_acquire);
        &job == &main_ && now != seen) {
      seen = now;
      help_shared();
    }
    if (spins % kPausesPerYield == kPausesPerYield - 1) {
      interrupted();  // workers see the flag at their next block
      std::this_thread::yield();
    }
  }
  const std::exception_ptr error = std::exchange(job.error, nullptr);
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

int usable_threads() noexcept { return depth > 0 ? 1 + idle_threads() : get_num_threads(); }

int idle_threads() noexcept { return depth > 0 ? pool().idle() : 0; }

int task_depth() noexcept { return depth; }

void parallel_run(std::int64_t tasks, int threads, TaskFunction function, const void* context) {
  const std::atomic<bool>* const stopped = interruption_flag();
  if (stopped != nullptr && stopped->load(std::memory_order_relaxed)) return;
  const DefaultFloatMode mode;
  if (static_cast<std::int64_t>(threads) > tasks) threads = static_cast<int>(tasks);
  if (threads <= 1) {
    run_alone(tasks, function, context);
    return;
  }
  if (depth > 0) {
    pool().share(tasks, threads, function, context);
  } else {
    pool().run(tasks, threads, function, context);
  }
}

}  // namespace octavo
