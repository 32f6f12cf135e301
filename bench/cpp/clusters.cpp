// SPDX-License-Identifier: Apache-2.0
#include "clusters.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>
#include <tuple>

#include "system_files.h"

#if defined(__linux__)
#include <dirent.h>
#include <sched.h>
#endif

namespace octavo_bench {
namespace {

constexpr int kHighestLevel = 4;
constexpr std::int64_t kMostMhz = 20000;
// Where x86 lists the cores of each kind, fast ones first.
constexpr const char* kHybrid[][2] = {{"performance", "/sys/devices/cpu_core/cpus"},
                                      {"efficiency", "/sys/devices/cpu_atom/cpus"},
                                      {"low-power", "/sys/devices/cpu_lowpower/cpus"}};

#if defined(__linux__)
// An affinity mask, larger than cpu_set_t where the machine has more CPUs.
class CpuSet {
 public:
  CpuSet() : set_(CPU_ALLOC(kCpus)) {
    if (set_ != nullptr) CPU_ZERO_S(bytes(), set_);
  }
  ~CpuSet() { CPU_FREE(set_); }
  CpuSet(const CpuSet&) = delete;
  CpuSet& operator=(const CpuSet&) = delete;
  static constexpr int kCpus = 4096;
  static std::size_t bytes() { return CPU_ALLOC_SIZE(kCpus); }
  cpu_set_t* get() const { return set_; }

 private:
  cpu_set_t* set_;
};

std::vector<int> allowed_cpus() {
  const CpuSet set;
  std::vector<int> out;
  if (set.get() == nullptr || sched_getaffinity(0, CpuSet::bytes(), set.get()) != 0) return out;
  for (int cpu = 0; cpu < CpuSet::kCpus; ++cpu) {
    if (CPU_ISSET_S(cpu, CpuSet::bytes(), set.get())) out.push_back(cpu);
  }
  return out;
}
#else
std::vector<int> allowed_cpus() { return {}; }
#endif

std::vector<int> usable_cpus(const std::string& root) {
  std::vector<int> cpus = allowed_cpus();
  if (cpus.empty()) {
    const int count = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    for (int cpu = 0; cpu < count; ++cpu) cpus.push_back(cpu);
  }
  const std::vector<int> online = read_cpus(root + "/sys/devices/system/cpu/online");
  std::vector<int> both;
  std::set_intersection(cpus.begin(), cpus.end(), online.begin(), online.end(),
                        std::back_inserter(both));
  return both.empty() ? cpus : both;
}

std::string cpu_folder(const std::string& root, int cpu) {
  return root + "/sys/devices/system/cpu/cpu" + std::to_string(cpu);
}

// As octavo bench --compare reads it, which knows the names.
std::string arm_core(std::int64_t implementer, std::int64_t part) {
  char numbers[32];
  std::snprintf(numbers, sizeof numbers, "arm-%02x-%03x", static_cast<unsigned>(implementer & 0xff),
                static_cast<unsigned>(part & 0xfff));
  return numbers;
}

// Implementer and part of ARM cores as /proc/cpuinfo lists them.
std::map<int, std::string> listed_cores(const std::string& root) {
  std::map<int, std::string> out;
  std::ifstream file(root + "/proc/cpuinfo");
  int cpu = -1;
  long implementer = 0;
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const long value = std::strtol(line.c_str() + colon + 1, nullptr, 0);
    if (line.rfind("processor", 0) == 0) cpu = static_cast<int>(value);
    if (line.rfind("CPU implementer", 0) == 0) implementer = value;
    if (line.rfind("CPU part", 0) == 0 && cpu >= 0) out[cpu] = arm_core(implementer, value);
  }
  return out;
}

std::optional<double> max_mhz(const std::string& root, int cpu) {
  const auto khz = read_number(cpu_folder(root, cpu) + "/cpufreq/cpuinfo_max_freq");
  if (!khz || *khz / 1000 < 1 || *khz / 1000 > kMostMhz) return std::nullopt;
  return static_cast<double>(*khz / 1000);
}

// What CPUs of a cluster have in common. Clocks tell kinds of ARM cores apart; on other machines
// each core may have a clock of its own.
Cluster kind_of(const std::string& root, int cpu, const std::map<int, std::string>& listed) {
  Cluster out;
  for (const auto& [name, path] : kHybrid) {
    const std::vector<int> members = read_cpus(root + path);
    if (std::binary_search(members.begin(), members.end(), cpu)) {
      out.name = name;
      return out;
    }
  }
  out.name = "cpu";
  const auto core = listed.find(cpu);
  const auto midr = read_number(cpu_folder(root, cpu) + "/regs/identification/midr_el1");
  if (core != listed.end()) out.name = core->second;
  if (midr) out.name = arm_core(*midr >> 24 & 0xff, *midr >> 4 & 0xfff);
  out.capacity = read_number(cpu_folder(root, cpu) + "/cpu_capacity");
  if (out.name != "cpu" || out.capacity) out.max_mhz = max_mhz(root, cpu);
  return out;
}

void read_caches(const std::string& root, Cluster& out) {
  for (int index = 0; index < 8; ++index) {
    const std::string folder =
        cpu_folder(root, out.cpus.front()) + "/cache/index" + std::to_string(index);
    const std::string type = read_text(folder + "/type"), size = read_text(folder + "/size");
    const auto level = read_number(folder + "/level");
    long long count = 0;
    char unit = ' ';
    const int fields = std::sscanf(size.c_str(), "%9lld%c", &count, &unit);
    if ((type != "Data" && type != "Unified") || !level || *level > kHighestLevel) continue;
    if (fields < 1 || count < 1) continue;
    const int shift = unit == 'K' ? 10 : unit == 'M' ? 20 : unit == 'G' ? 30 : 0;
    out.caches[static_cast<int>(*level)] = count << shift;
    int sharing = 0;
    for (const int cpu : read_cpus(folder + "/shared_cpu_list")) {
      sharing += std::binary_search(out.cpus.begin(), out.cpus.end(), cpu) ? 1 : 0;
    }
    out.sharing[static_cast<int>(*level)] = std::max(1, sharing);
  }
}

int rank(const Cluster& cluster) {
  for (int i = 0; i < 3; ++i) {
    if (cluster.name == kHybrid[i][0]) return i;
  }
  return 0;
}

bool faster(const Cluster& a, const Cluster& b) {
  const auto key = [](const Cluster& c) {
    return std::make_tuple(-rank(c), c.capacity.value_or(0), c.max_mhz.value_or(0),
                           -c.cpus.front());
  };
  return key(a) > key(b);
}

}  // namespace

std::vector<Cluster> find_clusters(const std::string& root) {
  const std::map<int, std::string> listed = listed_cores(root);
  std::vector<Cluster> out;
  for (const int cpu : usable_cpus(root)) {
    const Cluster kind = kind_of(root, cpu, listed);
    const auto same = std::find_if(out.begin(), out.end(), [&](const Cluster& c) {
      return c.name == kind.name && c.capacity == kind.capacity && c.max_mhz == kind.max_mhz;
    });
    (same == out.end() ? out.emplace_back(kind) : *same).cpus.push_back(cpu);
  }
  for (Cluster& cluster : out) {
    for (const int cpu : cluster.cpus) {
      cluster.max_mhz = std::max(cluster.max_mhz, max_mhz(root, cpu));
    }
    read_caches(root, cluster);
  }
  std::sort(out.begin(), out.end(), faster);
  return out;
}

bool pin_threads(const std::vector<int>& cpus) {
#if defined(__linux__)
  const CpuSet set;
  DIR* const folder = set.get() == nullptr ? nullptr : opendir("/proc/self/task");
  if (folder == nullptr) return false;
  for (const int cpu : cpus) CPU_SET_S(cpu, CpuSet::bytes(), set.get());
  bool all = true;
  while (const dirent* entry = readdir(folder)) {
    const int thread = std::atoi(entry->d_name);  // 0 for "." and ".."
    if (thread > 0) all &= sched_setaffinity(thread, CpuSet::bytes(), set.get()) == 0;
  }
  closedir(folder);
  return all;
#else
  (void)cpus;
  return false;
#endif
}

}  // namespace octavo_bench
