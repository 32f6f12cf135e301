// SPDX-License-Identifier: Apache-2.0
// What is timed, in which order, and the times that Google Benchmark takes of it.
#pragma once
#include <cstddef>
#include <functional>
#include <optional>
#include <vector>

#include "cases.h"
#include "clusters.h"
#include "options.h"

namespace octavo_bench {

// A case on some threads of a cluster.
struct Step {
  std::size_t cluster;
  int threads;
  Case work;
  bool shown = true;  // or it is only the limit of another step
  // Steps before this one that measure its limits.
  std::optional<std::size_t> dot, memory;
};

// With up to so many threads at once. Throws std::invalid_argument where no case was asked for.
std::vector<Step> plan(const std::vector<Cluster>& clusters, int most_threads,
                       const Options& options);

// Seconds a call, a value for each repetition, in the order of time.
using Times = std::vector<double>;

// Runs the steps; `done` is told of each when it is over.
void measure(const std::vector<Step>& steps, const std::vector<Cluster>& clusters, bool quick,
             const std::function<void(std::size_t step, const Times& times)>& done);

// Calls what was asked for as often as was asked for, on one thread; throws as plan().
void call_only(const Options& options);

}  // namespace octavo_bench
