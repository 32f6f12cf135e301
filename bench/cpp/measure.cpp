// SPDX-License-Identifier: Apache-2.0
#include "measure.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "system_files.h"
#include "threads/pool.h"

namespace octavo_bench {
namespace {

constexpr std::int64_t kMebibyte = 1 << 20;
constexpr int kRepetitions = 5, kQuickRepetitions = 2;
constexpr double kSeconds = 0.03, kQuickSeconds = 0.001;  // of a repetition, at least

constexpr const char* kNoCase = "--only: no case has such a text in it";

class Planner {
 public:
  Planner(const std::vector<Cluster>& clusters, int most_threads, const Options& options)
      : clusters_(clusters), most_threads_(most_threads), options_(options) {}

  std::vector<Step> steps() {
    for (std::size_t c = 0; c < clusters_.size(); ++c) {
      const int cpus = static_cast<int>(clusters_[c].cpus.size());
      add_all(c, 1);
      if (std::min(cpus, most_threads_) > 1) add_all(c, std::min(cpus, most_threads_));
    }
    return std::move(steps_);
  }

 private:
  void add_all(std::size_t cluster, int threads) {
    cluster_ = cluster;
    threads_ = threads;
    dot_.reset();
    if (options_.wants("dot_peak", "int8")) dot_ = add(dot_peak(threads));
    for (const auto& [name, bytes] : buffers()) {
      if (options_.wants("read", name)) add(read_buffer(name, bytes, threads));
      if (options_.wants("copy", name)) add(copy_buffer(name, bytes, threads));
    }
    for (Case& one : kernel_cases()) {
      if (options_.wants(one.kind, one.name)) add_kernel(std::move(one));
    }
  }

  std::size_t add(Case work, bool shown = true) {
    steps_.push_back({cluster_, threads_, std::move(work), shown, {}, {}});
    return steps_.size() - 1;
  }

  void add_kernel(Case work) {
    std::optional<std::size_t> dot, memory;
    const auto bytes = static_cast<std::int64_t>(work.bytes);
    if (work.limit == Limit::kDotAndRead) dot = dot_ ? dot_ : dot_ = add(dot_peak(threads_), false);
    if (work.limit == Limit::kCopy) memory = add(copy_buffer("", bytes, threads_), false);
    if (work.limit == Limit::kDotAndRead || work.limit == Limit::kRead) {
      memory = add(read_buffer("", bytes, threads_), false);
    }
    Step& step = steps_[add(std::move(work))];
    step.dot = dot;
    step.memory = memory;
  }

  // Levels with the bytes that all threads together read there.
  std::vector<std::pair<std::string, std::int64_t>> buffers() const {
    const Cluster& cluster = clusters_[cluster_];
    std::vector<std::pair<std::string, std::int64_t>> out;
    std::int64_t largest = 0;
    for (const auto& [level, bytes] : cluster.caches) {
      const int sharing = cluster.sharing.at(level);
      const std::int64_t count = (threads_ + sharing - 1) / sharing;
      out.emplace_back("L" + std::to_string(level), bytes / 2 * count);
      largest = std::max(largest, bytes);
    }
    if (out.empty()) {
      out = {{"L1", 16384 * threads_}, {"L2", 262144 * threads_}};
      largest = 16 * kMebibyte;
    }
    const std::int64_t memory = memory_bytes().value_or(2048 * kMebibyte);
    const std::int64_t most = std::max(64 * kMebibyte, std::min(256 * kMebibyte, memory / 8));
    out.emplace_back("DRAM", std::clamp(4 * largest, 64 * kMebibyte, most));
    return out;
  }

  const std::vector<Cluster>& clusters_;
  const int most_threads_;
  const Options& options_;
  std::vector<Step> steps_;
  std::size_t cluster_ = 0;
  int threads_ = 1;
  std::optional<std::size_t> dot_;
};

// Hands the repetitions of each benchmark on; its name is the step's number.
class Collector final : public benchmark::BenchmarkReporter {
 public:
  explicit Collector(const std::function<void(std::size_t, const Times&)>& done) : done_(done) {}

  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    Times times;
    for (const Run& run : runs) {
      if (run.run_type != Run::RT_Iteration || run.iterations == 0) continue;
      times.push_back(run.real_accumulated_time / static_cast<double>(run.iterations));
    }
    if (!times.empty()) done_(std::stoul(runs.front().run_name.function_name), times);
  }

 private:
  const std::function<void(std::size_t, const Times&)>& done_;
};

template <class Run>
auto* add_benchmark(std::size_t number, Run run) {
  return benchmark::RegisterBenchmark(std::to_string(number).c_str(), std::move(run));
}

// One call before, so that pages, caches and threads are there.
void time_call(benchmark::State& state, const Case& work) {
  const Call call = work.prepare();
  call();
  for (auto _ : state) call();
}

void run_benchmarks(const std::function<void(std::size_t, const Times&)>& done) {
  Collector collector(done);
  benchmark::RunSpecifiedBenchmarks(&collector, ".");  // whatever BENCHMARK_FILTER says
  benchmark::ClearRegisteredBenchmarks();
}

}  // namespace

std::vector<Step> plan(const std::vector<Cluster>& clusters, int most_threads,
                       const Options& options) {
  std::vector<Step> steps = Planner(clusters, most_threads, options).steps();
  if (steps.empty()) throw std::invalid_argument(kNoCase);
  return steps;
}

void measure(const std::vector<Step>& steps, const std::vector<Cluster>& clusters, bool quick,
             const std::function<void(std::size_t, const Times&)>& done) {
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const Step& step = steps[i];
    add_benchmark(i,
                  [&](benchmark::State& state) {
                    pin_threads(clusters[step.cluster].cpus);
                    octavo::set_num_threads(step.threads);
                    time_call(state, step.work);
                  })
        ->UseRealTime()
        ->MinTime(quick ? kQuickSeconds : kSeconds)
        ->Repetitions(quick ? kQuickRepetitions : kRepetitions);
  }
  run_benchmarks(done);
}

void call_only(const Options& options) {
  octavo::set_num_threads(1);
  const std::vector<Case> cases = kernel_cases();
  bool any = false;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const Case& work = cases[i];
    if (!options.wants(work.kind, work.name)) continue;
    any = true;
    add_benchmark(i, [&work](benchmark::State& state) { time_call(state, work); })
        ->Iterations(options.calls)
        ->Repetitions(1);
  }
  if (!any) throw std::invalid_argument(kNoCase);
  run_benchmarks([](std::size_t, const Times&) {});
}

}  // namespace octavo_bench
