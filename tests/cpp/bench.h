// SPDX-License-Identifier: Apache-2.0
// Every family has cases that are also timed, in the set-up that checks them:
// `test_kernels --bench [family]` runs these and nothing else.
#pragma once
#include <functional>
#include <string>

#include "check.h"
#include "dispatch/registry.h"
#include "tiers.h"

namespace octavo_test {

// Whether this run measures.
bool measuring();
void start_measuring();

// Whether the case at hand is one to be timed: its values are typical ones, none that may take ways
// of their own.
bool is_timed_case();

// Behind a check: times the call if its case is to be timed and this run measures. `what` is the
// kernel's name, a space, and its case in words that are the same for every row of the family.
void time_case(const std::string& what, const std::function<void()>& call);

// Prints what was timed since the last time: nanoseconds a call, and how often the scalar row's.
void print_times();

// Fails for any row of a tested tier that no test ran, or that no case times.
void check_all_covered();

class TimedCases {
 public:
  TimedCases();
  ~TimedCases();
  TimedCases(const TimedCases&) = delete;
  TimedCases& operator=(const TimedCases&) = delete;
};

void covered(const char* kernel);

// Each row of a family whose tier is tested: all its checks, then the cases that are timed.
template <class Args, class Checks, class Cases>
void for_each_row(const Checks& checks, const Cases& cases) {
  for (const octavo::KernelRow<Args>& row : octavo::kernel_rows<Args>()) {
    if (!(tested_tiers() & octavo::bit(row.isa))) continue;
    covered(row.name);
    if (!measuring()) checks(row);
    const TimedCases scope;
    cases(row);
  }
}

}  // namespace octavo_test
