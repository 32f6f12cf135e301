// SPDX-License-Identifier: Apache-2.0
// What was measured, as lines on the screen and as the file that docs/device.md describes.
#pragma once
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "clusters.h"
#include "measure.h"

namespace octavo_bench {

class Results {
 public:
  // `cpus` is how many the process may use.
  Results(const std::vector<Step>& steps, const std::vector<Cluster>& clusters, int cpus)
      : steps_(steps), clusters_(clusters), cpus_(cpus) {}

  // Keeps the times of a step and prints its line.
  void take(std::size_t step, const Times& times);

  // The file's text. `when` is the start, in UTC.
  std::string to_json(const std::string& when, double seconds, bool complete,
                      const std::vector<std::string>& notes) const;

 private:
  struct Row;
  Row row(std::size_t step) const;
  double median_seconds(std::size_t step) const;

  const std::vector<Step>& steps_;
  const std::vector<Cluster>& clusters_;
  const int cpus_;
  std::map<std::size_t, Times> times_;
};

}  // namespace octavo_bench
