// SPDX-License-Identifier: Apache-2.0
#include "threads/cpu_count.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

namespace octavo {
namespace {

int affinity_count() {
#if defined(__linux__)
  // The mask of a machine with more CPUs than cpu_set_t holds needs a larger buffer.
  for (int cpus = 1024; cpus <= 1 << 16; cpus *= 4) {
    cpu_set_t* set = CPU_ALLOC(cpus);
    if (set == nullptr) break;
    const std::size_t bytes = CPU_ALLOC_SIZE(cpus);
    const bool ok = sched_getaffinity(0, bytes, set) == 0;
    const int count = ok ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (ok) return count;
  }
#endif
  return static_cast<int>(std::thread::hardware_concurrency());
}

#if defined(__linux__)
// cgroup v2 "quota period" or "max period"; v1 keeps the two numbers in two files.
double cgroup_quota() {
  std::ifstream v2("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (v2 >> quota >> period && quota != "max" && period > 0)
    return std::atof(quota.c_str()) / period;
  std::ifstream v1_quota("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  std::ifstream v1_period("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  double number = 0;
  if (v1_quota >> number && v1_period >> period && number > 0 && period > 0) return number / period;
  return 0;
}
#else
double cgroup_quota() { return 0; }
#endif

}  // namespace

int usable_cpu_count() {
  int count = std::max(1, affinity_count());
  const double quota = cgroup_quota();
  if (quota > 0) count = std::min(count, std::max(1, static_cast<int>(std::ceil(quota))));
  return count;
}

}  // namespace octavo
