// SPDX-License-Identifier: Apache-2.0
// The thread pool and the loops on top of it; made to run under ThreadSanitizer.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <new>
#include <numeric>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "check.h"
#include "memory/result_cache.h"
#include "ops/linear.h"
#include "ops/program.h"
#include "threads/interrupt.h"
#include "threads/pool.h"
#include "tiers.h"

#if OCTAVO_TEST_SMALL_STACK
#include <limits.h>
#include <pthread.h>
#endif
#if OCTAVO_TEST_FORK
#include <sys/wait.h>
#include <unistd.h>
#endif

namespace octavo_test {
namespace {

using namespace octavo;

// Plain, unsynchronized results: a task that ran twice or on two threads at once is a race.
bool every_task_once(std::int64_t tasks, int threads) {
  std::vector<int> runs(static_cast<std::size_t>(tasks), 0);
  std::vector<long> per_worker(static_cast<std::size_t>(threads), 0);
  parallel_for(tasks, threads, [&](std::int64_t task, int worker) {
    runs[static_cast<std::size_t>(task)] += 1;
    per_worker[static_cast<std::size_t>(worker)] += 1;
  });
  for (const int count : runs) {
    if (count != 1) return false;
  }
  return std::accumulate(per_worker.begin(), per_worker.end(), 0L) == tasks;
}

void test_jobs() {
  for (int round = 0; round < 200; ++round) {
    const int threads = 1 + round % 5;
    check(every_task_once(round % 23, threads), "tasks of one job");
    // Now and then long enough for the workers to fall asleep.
    if (round % 40 == 39) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

template <class Body>
void on_threads(int count, const Body& body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back([&body, i] { body(i); });
  for (std::thread& thread : threads) thread.join();
}

void test_concurrent_callers() {
  std::atomic<int> wrong{0};
  on_threads(6, [&](int caller) {
    for (int round = 0; round < 100; ++round) {
      if (!every_task_once(1 + (caller + round) % 17, 1 + round % 4)) ++wrong;
    }
  });
  check(wrong == 0, "tasks of concurrent jobs");
}

// Bytes written without synchronization: memory that two had at once is a race.
void test_result_cache() {
  std::atomic<int> shared{0};
  on_threads(6, [&](int index) {
    for (int round = 0; round < 40; ++round) {
      const std::size_t size = kSmallestKept << (index + round) % 2;
      AlignedBuffer buffer = take_result(size);
      auto* bytes = buffer.as<unsigned char>();
      std::fill(bytes, bytes + 4096, static_cast<unsigned char>(index));
      std::this_thread::yield();
      if (std::count(bytes, bytes + 4096, index) != 4096) ++shared;
      if (index == 0) limit_result_cache(static_cast<std::size_t>(round % 5) << 20);
      keep_result(std::move(buffer));
    }
  });
  check(shared == 0, "memory of a result");
  limit_result_cache(kMostKeptBytes);
  std::vector<AlignedBuffer> buffers;
  for (int i = 0; i < 20; ++i) buffers.push_back(take_result(kSmallestKept + 1));
  for (AlignedBuffer& buffer : buffers) keep_result(std::move(buffer));
  check(result_cache().buffers == kMostKeptBuffers, "the number of buffers kept");
  check(!is_kept_size(kSmallestKept - 1) && is_kept_size(kMostKeptBytes) &&
            !is_kept_size(kMostKeptBytes + 1) && !is_kept_size(~std::size_t{0}),
        "sizes that are kept");
  limit_result_cache(0);
  check(result_cache().bytes == 0 && result_cache().buffers == 0, "an empty cache");
}

void test_nested() {
  std::atomic<int> total{0};
  parallel_for(6, 3,
               [&](std::int64_t, int) { parallel_for(5, 3, [&](std::int64_t, int) { ++total; }); });
  check(total == 30, "a job inside a task");
}

// A thread without a task takes part in a job inside another's: each of its tasks runs once, no two
// have a worker's number at a time, and what one throws comes out of the outer job.
void test_sharing(int threads, bool throws) {
  constexpr std::int64_t kShared = 40;
  std::vector<int> runs(kShared, 0);
  std::vector<std::atomic<int>> at_work(static_cast<std::size_t>(threads));
  std::atomic<bool> thrown{false}, clash{false};
  std::atomic<int> helpers{0};
  const auto share = [&](std::int64_t outer, int) {
    if (outer != 1) return;
    while (idle_threads() == 0) std::this_thread::yield();  // not all: who wakes late stays out
    check(usable_threads() > 1 && usable_threads() <= threads, "threads for what is in a task");
    parallel_for(kShared, usable_threads(), [&](std::int64_t task, int worker) {
      if (++at_work[static_cast<std::size_t>(worker)] != 1) clash = true;
      if (worker != 0) ++helpers;
      while (worker == 0 && helpers == 0) std::this_thread::yield();
      runs[static_cast<std::size_t>(task)] += 1;
      --at_work[static_cast<std::size_t>(worker)];
      if (throws && worker != 0) throw std::bad_alloc();
    });
  };
  try {
    parallel_for(threads, threads, share);
  } catch (const std::bad_alloc&) {
    thrown = true;
  }
  check(helpers > 0, "a thread that helps");
  check(!clash && thrown == throws, "a shared job");
  for (const int count : runs) check(throws ? count <= 1 : count == 1, "tasks of a shared job");
  check(idle_threads() == 0 && task_depth() == 0, "nothing is left of a shared job");
}

// A thread without a task counts once, however often it is called to help.
void test_idle_count(int threads) {
  std::atomic<bool> begun{false};
  parallel_for(threads, threads, [&](std::int64_t, int worker) {
    if (worker != 0) {
      while (!begun) std::this_thread::yield();  // so that the caller has a task
      return;
    }
    begun = true;
    while (idle_threads() == 0) std::this_thread::yield();
    for (int round = 0; round < 50; ++round) {
      check(usable_threads() <= threads, "threads without a task");
      parallel_for(4, 2, [](std::int64_t, int) {});
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
  });
}

// What a task throws comes out, also from a job inside it; no task starts afterwards, and the jobs
// after it are whole.
void test_errors(int threads, bool nested) {
  std::atomic<int> done{0};
  const auto task = [&](std::int64_t i, int) {
    if (i == 2) throw std::bad_alloc();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ++done;
  };
  bool caught = false;
  try {
    parallel_for(1000, threads, [&](std::int64_t i, int worker) {
      if (nested) {
        parallel_for(5, threads, task);
      } else {
        task(i, worker);
      }
    });
  } catch (const std::bad_alloc&) {
    caught = true;
  }
  check(caught, "what a task throws");
  check(done < 500, "tasks after one that threw");
  check(every_task_once(50, threads), "a job after one that threw");
}

// A call that is stopped starts no more tasks on any thread, even if its own thread only waits; the
// calls after it are whole. What asks may call in its turn.
void test_interruption(int threads, std::int64_t tasks) {
  std::atomic<std::int64_t> done{0}, asked{0};
  const auto task = [&](std::int64_t, int) {
    for (int i = 0; i < 100 && !interrupted(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ++done;
  };
  {
    const InterruptibleCall call(
        [](void* context) {
          check(every_task_once(20, 3), "a job of what asks");
          return ++*static_cast<std::atomic<std::int64_t>*>(context) == 2;
        },
        &asked);
    parallel_for(tasks, threads, task);
    check(call.stopped() && asked == 2, "an interrupted call");
    check(done <= threads, "tasks after an interruption");
    parallel_for(tasks, threads, task);
    check(done <= threads, "a job after an interruption");
  }
  check(!interrupted() && waiting_calls() == 0, "interruption ends with the call");
  check(every_task_once(50, threads), "a job after an interrupted call");
}

std::shared_ptr<const Linear> make_linear(std::int64_t n, std::int64_t k) {
  Random random(99);
  std::vector<std::int8_t> codes(static_cast<std::size_t>(n * k));
  for (std::int8_t& code : codes) code = static_cast<std::int8_t>(random.between(-127, 127));
  const std::vector<float> scale(static_cast<std::size_t>(n), 0.01f);
  LinearOptions options;
  options.activation = Activation::kGelu;
  return std::make_shared<Linear>(codes.data(), n, k, scale.data(), scale.data(), options);
}

std::vector<float> random_rows(std::int64_t m, std::int64_t k) {
  Random random(7);
  std::vector<float> x(static_cast<std::size_t>(m * k));
  for (float& value : x) value = random.real(3.0f);
  return x;
}

// The same bits for any number of threads, whether rows or columns are shared out, and from
// several callers at a time.
template <class Run>
void test_threads(const std::string& name, const Run& run) {
  set_num_threads(1);
  const std::vector<float> expected = run();
  for (const int threads : {2, 3, 7}) {
    set_num_threads(threads);
    check(run() == expected, name + " on " + std::to_string(threads));
  }
  set_num_threads(3);
  std::atomic<int> wrong{0};
  on_threads(4, [&](int) {
    for (int round = 0; round < 5; ++round) {
      if (run() != expected) ++wrong;
    }
  });
  check(wrong == 0, name + " from concurrent callers");
}

void test_linear(std::int64_t m, std::int64_t n, std::int64_t k) {
  const std::shared_ptr<const Linear> linear = make_linear(n, k);
  const std::vector<float> x = random_rows(m, k);
  test_threads("linear", [&] {
    std::vector<float> out(static_cast<std::size_t>(m * n));
    linear->run(m, {x.data(), k}, {}, {out.data(), n});
    return out;
  });
}

// A block of a model: its steps run by slices, by blocks of rows, or each on all threads.
void test_program(const std::vector<std::int64_t>& offsets) {
  constexpr std::int64_t kWidth = 64, kNone = Program::kNone;
  const std::vector<float> ones(kWidth, 1.0f), x = random_rows(offsets.back(), kWidth);
  const RotaryTable table = {ones.data(), ones.data(), 8};
  Program program(kWidth);
  const auto narrow = [&](Program::Value x, Program::Value addend, Program::Value residual) {
    return program.add_linear(make_linear(kWidth, kWidth), x, addend, residual);
  };
  const auto q = narrow(Program::kInput, kNone, kNone), k = narrow(Program::kInput, kNone, kNone);
  const auto v = narrow(Program::kInput, q, kNone);  // not together with them
  const auto heads = program.add_attention({4, 0.25f, true, false}, q, k, v);
  const auto turned = program.add_rotary({4, 0}, heads);
  const auto seen = program.add_cached_attention({0, 4, 4, kNoWindow, 0.25f}, turned, turned, v);
  const auto mixed = narrow(seen, kNone, Program::kInput);
  const auto norm = program.add_rms_norm({ones.data(), 16, 1e-5f}, mixed, kNone);
  // Together: what the first alone reads must not become the second's.
  const auto gate = narrow(norm, kNone, mixed), up = narrow(norm, kNone, kNone);
  const auto gated = program.add_gated(Activation::kSilu, gate, up);
  program.finish(program.add_linear(make_linear(200, kWidth), gated, kNone, kNone));
  test_threads("program", [&] {
    const std::vector<std::int64_t> places(x.size() / kWidth, 0);
    std::vector<float> out(places.size() * 200);
    std::deque<KvCache> caches;
    std::vector<KvCache*> list;
    for (std::size_t s = 1; s < offsets.size(); ++s) list.push_back(&caches.emplace_back(1, 4, 16));
    const auto count = static_cast<std::int64_t>(list.size());
    program.run({offsets.data(), count, {}, places.data(), &table, list.data()}, x.data(),
                out.data());
    return out;
  });
}

void test_steps_from_threads() {
  Program program(16);
  const std::vector<float> ones(16, 1.0f);
  std::int64_t widths[4] = {};  // no atomics, which would order the threads
  on_threads(4, [&](int thread) {
    Program::Value last = Program::kInput;
    for (int round = 0; round < 50; ++round) {
      last = program.add_layer_norm({ones.data(), nullptr, 1.0f}, 16, last, Program::kInput);
      widths[thread] += program.output_width();
    }
  });
  program.finish(200);
  check(program.output_width() == 16 && *std::max_element(widths, widths + 4) == 0,
        "steps from several threads");
}

#if OCTAVO_TEST_SMALL_STACK
// Every format on every tier, made and run.
void run_all_formats() {
  constexpr std::int64_t kRows = 20, kOutputs = 40, kInputs = 300;
  Random random(3);
  std::vector<std::int8_t> codes(kOutputs * kInputs);
  for (std::int8_t& code : codes) {
    code = static_cast<std::int8_t>(random.between(0, 3) ? 0 : random.between(-128, 127));
  }
  const std::vector<float> scale(kOutputs, 0.01f), x(kRows * kInputs, 0.5f);
  for_each_tier([&](const std::string& tier) {
    std::vector<float> first, out(kRows * kOutputs);
    for (const WeightFormat& format : weight_formats()) {
      const Linear linear(codes.data(), kOutputs, kInputs, scale.data(), nullptr, {}, format);
      linear.run(kRows, {x.data(), kInputs}, {}, {out.data(), kOutputs});
      if (first.empty()) first = out;
      check(out == first, std::string(format.name) + " on a small stack, " + tier);
    }
  });
}

void test_small_stack() {
  pthread_attr_t attributes;
  pthread_t thread;
  pthread_attr_init(&attributes);
  const auto least = static_cast<std::size_t>(PTHREAD_STACK_MIN);  // 128 KiB on aarch64
  check(pthread_attr_setstacksize(&attributes, std::max<std::size_t>(32 << 10, least)) == 0,
        "a small stack");
  const auto body = [](void*) -> void* {
    run_all_formats();
    return nullptr;
  };
  check(pthread_create(&thread, &attributes, body, nullptr) == 0, "a thread with a small stack");
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}
#endif

#if OCTAVO_TEST_FORK
void test_fork() {
  check(every_task_once(50, 3), "before the fork");
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);  // a child that hangs must not hang the test
    const bool ok = every_task_once(50, 3) && every_task_once(50, 3);
    _exit(ok ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the pool in a forked child");
  check(every_task_once(50, 3), "the pool after the fork");
}
#endif

}  // namespace
}  // namespace octavo_test

int main() {
  using namespace octavo_test;
#if OCTAVO_TEST_FORK
  test_fork();
#endif
#if OCTAVO_TEST_SMALL_STACK
  test_small_stack();
#endif
  test_jobs();
  test_concurrent_callers();
  test_nested();
  for (const int threads : {2, 3, 5}) {
    for (const bool throws : {false, true}) test_sharing(threads, throws);
  }
  for (const int threads : {2, 5}) test_idle_count(threads);
  test_result_cache();
  for (const int threads : {1, 2, 3}) {
    for (const bool nested : {false, true}) test_errors(threads, nested);
  }
  for (const int threads : {1, 2, 3}) {
    for (const std::int64_t tasks : {3, 100}) test_interruption(threads, tasks);
  }
  test_linear(1, 700, 300);
  test_linear(5, 257, 129);
  test_linear(200, 64, 100);
  test_linear(33, 500, 1500);
  test_steps_from_threads();
  test_program({0, 5});
  test_program({0, 30, 40});
  test_program({0, 400});
  test_program({0, 0, 90, 200, 300, 401, 500});
  return finish();
}
