// SPDX-License-Identifier: Apache-2.0
// Results do not depend on which thread computes what: the same bits where one thread is slow, and
// where all of them stop now and then.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "between_tasks.h"
#include "check.h"
#include "op_cases.h"
#include "threads/pool.h"

namespace octavo_test {
namespace {

using namespace octavo;

const std::thread::id caller = std::this_thread::get_id();
std::atomic<std::uint64_t> pauses{0};

void wait(std::int64_t microseconds) {
  std::this_thread::sleep_for(std::chrono::microseconds(microseconds));
}
void wait_if_caller() {
  if (std::this_thread::get_id() == caller) wait(50);
}
void wait_if_worker() {
  if (std::this_thread::get_id() != caller) wait(50);
}
void wait_sometimes() {
  Random random(pauses.fetch_add(1));
  if (random.between(0, 3) == 0) wait(random.between(0, 100));
}

void test_delays(const OpCase& one) {
  task_watcher = {};
  set_num_threads(1);
  one.run();
  const std::vector<float> expected = *one.out;
  for (void (*delay)() : {wait_if_caller, wait_if_worker, wait_sometimes}) {
    task_watcher.pause = delay;
    for (const int threads : {2, 3, 11}) {
      set_num_threads(threads);
      std::fill(one.out->begin(), one.out->end(), -1.0f);
      one.run();
      check_same(one.out->data(), expected.data(), static_cast<std::int64_t>(expected.size()),
                 one.name + " with delays, on " + std::to_string(threads));
    }
  }
}

}  // namespace
}  // namespace octavo_test

int main() {
  using namespace octavo_test;
  for (const std::int64_t m : {1, 20, 70, 300, 1100})
    test_delays(linear_case(m, int8_layer(200, 96)));
  test_delays(linear_case(130, int8_layer(150, 1000)));
  for (const std::int64_t m : {3, 150}) test_delays(linear_case(m, float_layer(300, 200)));
  for (const bool int8 : {true, false}) {
    test_delays(attention_case(int8, 1, 90));
    test_delays(attention_case(int8, 3, 33));
  }
  test_delays(norm_case(300, 100));
  test_delays(model_case("of one sequence", 1, {70}));
  test_delays(model_case("of sequences", 1, {40, 3, 64, 50, 12}));
  for (const std::int64_t side : {9, 60}) test_delays(graph_case(side));
  return finish();
}
