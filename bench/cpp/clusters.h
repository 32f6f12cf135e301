// SPDX-License-Identifier: Apache-2.0
// The kinds of CPUs of this machine, as docs/device.md describes them.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace octavo_bench {

struct Cluster {
  std::string name;
  std::vector<int> cpus;
  bool pinned = false;
  std::optional<double> max_mhz;
  std::optional<std::int64_t> capacity;
  std::map<int, std::int64_t> caches;  // bytes of a data cache by level
  std::map<int, int> sharing;          // how many of the CPUs share one, by level
};

// Of the CPUs that this process may use, the fastest kind first; `root` is where /sys and /proc
// are. At least one cluster with one CPU.
std::vector<Cluster> find_clusters(const std::string& root);

// Holds all threads of the process to these CPUs, those to come included. False where the system
// does not allow it, or cannot.
bool pin_threads(const std::vector<int>& cpus);

}  // namespace octavo_bench
