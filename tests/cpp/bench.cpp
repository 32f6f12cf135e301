// SPDX-License-Identifier: Apache-2.0
#include "bench.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <set>
#include <vector>

namespace octavo_test {
namespace {

struct Time {
  std::string kernel, what;
  double nanoseconds;
};

bool g_measuring = false;
bool g_timed_case = false;
std::set<std::string> g_covered, g_timed;  // names of kernels
std::vector<Time> g_times;

double measured(const std::function<void()>& call) {
  using Clock = std::chrono::steady_clock;
  const auto batch = [&](int calls) {
    const auto start = Clock::now();
    for (int i = 0; i < calls; ++i) call();
    return std::chrono::duration<double, std::nano>(Clock::now() - start).count();
  };
  constexpr int kBatches = 15;
  constexpr double kBatchTime = 5.0e5;  // half a millisecond: a thousand times what the clock tells
  int calls = 1;
  while (batch(calls) < kBatchTime && calls < 1 << 24) calls *= 2;  // and so it is warm
  std::vector<double> times;
  for (int i = 0; i < kBatches; ++i) times.push_back(batch(calls) / calls);
  std::nth_element(times.begin(), times.begin() + kBatches / 2, times.end());
  return times[kBatches / 2];
}

bool is_scalar(const std::string& kernel) {
  const std::string end = "_scalar";
  return kernel.size() > end.size() &&
         kernel.compare(kernel.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

bool measuring() { return g_measuring; }
void start_measuring() { g_measuring = true; }
bool is_timed_case() { return g_timed_case; }

TimedCases::TimedCases() { g_timed_case = true; }
TimedCases::~TimedCases() { g_timed_case = false; }

void covered(const char* kernel) { g_covered.insert(kernel); }

void time_case(const std::string& what, const std::function<void()>& call) {
  if (!g_timed_case) return;
  const std::size_t space = what.find(' ');
  const std::string kernel = what.substr(0, space);
  g_timed.insert(kernel);
  if (g_measuring) g_times.push_back({kernel, what.substr(space + 1), measured(call)});
}

void print_times() {
  for (const Time& time : g_times) {
    double scalar = time.nanoseconds;
    for (const Time& other : g_times) {
      if (other.what == time.what && is_scalar(other.kernel)) scalar = other.nanoseconds;
    }
    std::printf("%-44s %-36s %12.0f ns %8.2fx\n", time.kernel.c_str(), time.what.c_str(),
                time.nanoseconds, scalar / time.nanoseconds);
  }
  g_times.clear();
}

void check_all_covered() {
  int skipped = 0;
  for (const octavo::KernelInfo& kernel : octavo::list_kernels()) {
    if (!(tested_tiers() & octavo::bit(kernel.isa))) {
      std::printf("skipped %s: its tier is not tested here\n", kernel.name.c_str());
      ++skipped;
      continue;
    }
    check(g_covered.count(kernel.name) == 1, kernel.name + " was run by no test");
    check(g_timed.count(kernel.name) == 1, kernel.name + " has no case that is timed");
  }
  std::printf("%zu kernels run, %d skipped\n", g_covered.size(), skipped);
}

}  // namespace octavo_test
