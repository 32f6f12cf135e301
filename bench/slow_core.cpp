// SPDX-License-Identifier: Apache-2.0
// What a slow core costs the fast one: operations and whole encoders on two threads, one of which
// takes 2, 3 or 4 times as long for everything, as on a CPU with cores of two kinds.
//
//   slow_core [part of a case's name]
//
// Wherever a thread passes between operation and pool, the slow one spins for as long as its work
// since the last time would have taken longer there; waiting is not slowed down. The loss is the
// time above the ideal, which is that of two equal threads times 2 / (1 + 1 / factor). Each result
// is compared, bit for bit, with that of one thread.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "between_tasks.h"
#include "check.h"
#include "op_cases.h"
#include "threads/pool.h"

namespace octavo_test {
namespace {

using namespace octavo;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Which thread is slow, and how slow; the first thread is the caller.
double slow_factor = 1;
bool caller_is_slow = false;
const std::thread::id caller = std::this_thread::get_id();
thread_local double since = 0;  // when this thread took up what it works on

void take_up() { since = now(); }

void take_longer() {
  if (slow_factor == 1 || (std::this_thread::get_id() == caller) != caller_is_slow) return;
  const double until = now() + (slow_factor - 1) * (now() - since);
  while (now() < until) {
  }
  take_up();
}

std::vector<OpCase> all_cases() {
  std::vector<OpCase> cases;
  for (const auto& [n, k] : {std::pair{384, 384}, {1536, 384}, {768, 768}, {3072, 768}}) {
    const auto layer = int8_layer(n, k);
    for (const int m : {1, 8, 32, 64, 128, 200, 512}) cases.push_back(linear_case(m, layer));
  }
  for (const auto& [n, k] : {std::pair{384, 384}, {768, 768}}) {
    const auto layer = float_layer(n, k);
    for (const int m : {1, 8, 32, 128, 512}) cases.push_back(linear_case(m, layer));
  }
  for (const bool int8 : {true, false}) {
    for (const auto& [batch, tokens] : {std::pair{1, 128}, {8, 128}, {1, 512}}) {
      cases.push_back(attention_case(int8, batch, tokens));
    }
  }
  cases.push_back(norm_case(128, 384));
  cases.push_back(norm_case(1024, 384));
  cases.push_back(model_case("1x16", 6, {16}));
  cases.push_back(model_case("1x128", 6, {128}));
  cases.push_back(model_case("2x128", 6, {128, 128}));
  cases.push_back(model_case("8x128", 6, std::vector<std::int64_t>(8, 128)));
  cases.push_back(model_case("32x128", 6, std::vector<std::int64_t>(32, 128)));
  cases.push_back(model_case("1x512", 6, {512}));
  cases.push_back(model_case("ragged", 6, {9, 77, 31, 128, 16, 50, 201, 12, 64}));
  return cases;
}

// How the two threads are made unequal, or only one used.
struct Setting {
  int threads;
  double factor;
  bool caller;
};
constexpr Setting kSettings[] = {{1, 1, false}, {2, 1, false}, {2, 2, false}, {2, 2, true},
                                 {2, 3, false}, {2, 3, true},  {2, 4, false}, {2, 4, true}};
constexpr std::size_t kCount = sizeof kSettings / sizeof kSettings[0];

double time_once(const OpCase& one, const Setting& setting, const std::vector<float>& expected) {
  set_num_threads(setting.threads);
  slow_factor = setting.factor;
  caller_is_slow = setting.caller;
  const double awake = since = now();
  do one.run();
  while (now() < awake + 3e-4);  // the worker has woken up
  const double start = since = now();
  one.run();
  take_longer();
  const double seconds = now() - start;
  check_same(one.out->data(), expected.data(), static_cast<std::int64_t>(expected.size()),
             one.name);
  return seconds;
}

double report(const OpCase& one) {
  set_num_threads(1);
  slow_factor = 1;
  one.run();
  const std::vector<float> expected = *one.out;
  std::vector<double> seconds[kCount];
  const double end = now() + 0.5;
  while (now() < end || seconds[0].size() < 5) {
    for (std::size_t i = 0; i < kCount; ++i) {
      seconds[i].push_back(time_once(one, kSettings[i], expected));
    }
  }
  for (auto& times : seconds) {
    std::nth_element(times.begin(), times.begin() + static_cast<long>(times.size() / 3),
                     times.end());
  }
  const auto typical = [&](std::size_t i) { return seconds[i][seconds[i].size() / 3]; };
  std::printf("%-24s %8.1f %8.1f", one.name.c_str(), 1e6 * typical(0), 1e6 * typical(1));
  double worst = 0;
  for (std::size_t i = 2; i < kCount; ++i) {
    const double ideal = typical(1) * 2 / (1 + 1 / kSettings[i].factor);
    const double loss = typical(i) / ideal - 1;
    worst = std::max(worst, loss);
    std::printf(" %6.0f%%", 100 * loss);
  }
  std::printf("\n");
  return worst;
}

}  // namespace
}  // namespace octavo_test

int main(int argc, char** argv) {
  using namespace octavo_test;
  task_watcher = {take_up, take_longer};
  const std::string part = argc > 1 ? argv[1] : "";
  std::printf("%-24s %8s %8s  loss with one thread 2, 3, 4 times as slow: the worker, the caller\n",
              "case", "1: us", "2: us");
  double worst = 0;
  for (const OpCase& one : all_cases()) {
    if (one.name.find(part) != std::string::npos) worst = std::max(worst, report(one));
  }
  std::printf("worst loss: %.0f%%\n", 100 * worst);
  return finish();
}
