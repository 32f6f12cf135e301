// SPDX-License-Identifier: Apache-2.0
// What find_clusters() makes of a system's files: a phone's, and some that are damaged.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "clusters.h"
#include "system_files.h"

namespace octavo_bench {
namespace {

int failures = 0;

void check(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "FAILED %s\n", what);
  ++failures;
}

// The files of a made-up system, below a folder of their own.
class System {
 public:
  explicit System(const std::string& root) : root_(root) { std::filesystem::remove_all(root); }
  void put(const std::string& path, const std::string& text) const {
    const std::filesystem::path file = root_ + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text << "\n";
  }
  void put_cpu(int cpu, const std::string& path, const std::string& text) const {
    put("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/" + path, text);
  }
  const std::string& root() const { return root_; }

 private:
  std::string root_;
};

void test_phone(const System& phone) {
  phone.put("/sys/devices/system/cpu/online", "0-1");
  phone.put("/proc/cpuinfo",
            "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd05\n\n"
            "processor\t: 1\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n");
  phone.put_cpu(0, "cpu_capacity", "381");
  phone.put_cpu(1, "cpu_capacity", "1024");
  phone.put_cpu(1, "cpufreq/cpuinfo_max_freq", "2400000");
  phone.put_cpu(1, "cache/index0/type", "Data");
  phone.put_cpu(1, "cache/index0/level", "1");
  phone.put_cpu(1, "cache/index0/size", "64K");
  phone.put_cpu(1, "cache/index0/shared_cpu_list", "1");
  phone.put_cpu(1, "cache/index1/type", "Instruction");
  phone.put_cpu(1, "cache/index1/level", "1");
  phone.put_cpu(1, "cache/index1/size", "32K");
  phone.put_cpu(1, "cache/index2/type", "Unified");
  phone.put_cpu(1, "cache/index2/level", "2");
  phone.put_cpu(1, "cache/index2/size", "nonsense");
  const std::vector<Cluster> found = find_clusters(phone.root());
  check(found.size() == 2, "two kinds of cores are two clusters");
  if (found.size() != 2) return;
  check(found[0].name == "arm-41-d0b" && found[1].name == "arm-41-d05", "the fast one comes first");
  check(found[0].cpus == std::vector<int>{1}, "its CPUs");
  check(found[0].max_mhz == 2400.0 && !found[1].max_mhz, "its clock");
  check(found[1].capacity == 381, "capacity");
  check(found[0].caches == std::map<int, std::int64_t>{{1, 65536}}, "data caches with a size");
  check(found[1].caches.empty(), "caches that the system does not tell");
}

void test_damaged(const System& damaged) {
  damaged.put("/sys/devices/system/cpu/online", "9999999999-3,x");
  damaged.put("/proc/cpuinfo", "processor: \nCPU part: 0xd05\n:\n");
  damaged.put_cpu(0, "cpu_capacity", "-5");
  damaged.put_cpu(0, "cpufreq/cpuinfo_max_freq", "18446744073709551617");
  damaged.put_cpu(0, "cache/index0/type", "Data");
  damaged.put_cpu(0, "cache/index0/level", "77");
  damaged.put_cpu(0, "cache/index0/size", "64K");
  const std::vector<Cluster> found = find_clusters(damaged.root());
  check(!found.empty() && !found[0].cpus.empty(), "there is always a cluster");
  check(!found[0].capacity && !found[0].max_mhz && found[0].caches.empty(), "nothing is guessed");
  check(!pin_threads({}), "threads cannot be held to no CPU");
}

}  // namespace
}  // namespace octavo_bench

int main(int argc, char** argv) {
  using namespace octavo_bench;
  const std::string folder = argc > 1 ? argv[1] : ".";
  const bool two = find_clusters("")[0].cpus.size() > 1;  // the phone has CPUs 0 and 1
  if (two) test_phone(System(folder + "/phone"));
  test_damaged(System(folder + "/damaged"));
  return failures == 0 ? 0 : 1;
}
