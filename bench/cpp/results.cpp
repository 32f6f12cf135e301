// SPDX-License-Identifier: Apache-2.0
#include "results.h"

#include <algorithm>
#include <cstdio>
#include <optional>

#include "dispatch/cpu_features.h"
#include "dispatch/isa.h"
#include "json.h"
#include "system_files.h"

#if __has_include(<sys/utsname.h>)
#include <sys/utsname.h>
#define OCTAVO_HAVE_UNAME 1
#endif

namespace octavo_bench {
namespace {

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

const char* unit_of(const std::string& kind) {
  if (kind == "dot_peak") return "GOP/s";
  return kind == "kernel" ? "us" : "GB/s";
}

// In the kind's unit.
double value_of(const Case& work, double seconds) {
  if (work.kind == "kernel") return seconds * 1e6;
  return (work.kind == "dot_peak" ? work.operations : work.bytes) / seconds * 1e-9;
}

const char* compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#elif defined(__GNUC__)
  return "gcc " __VERSION__;
#elif defined(_MSC_VER)
  return "msvc";
#else
  return "unknown";
#endif
}

std::string cpu_name(const std::vector<Cluster>& clusters) {
  const std::string& brand = octavo::cpu_features().brand;
  return brand.empty() ? clusters.front().name : brand;
}

std::string machine_json(const std::vector<Cluster>& clusters, int cpus) {
  std::string arch = "unknown", system = "unknown";
#if defined(OCTAVO_HAVE_UNAME)
  utsname name{};
  if (uname(&name) == 0) {
    arch = name.machine;
    system = std::string(name.sysname) + " " + name.release;
  }
#endif
  std::vector<std::string> tiers;
  for (const octavo::IsaInfo& info : octavo::isa_table()) {
    if (octavo::detected_isas() & octavo::bit(info.isa)) {
      tiers.insert(tiers.begin(), json_string(info.token));
    }
  }
  const std::optional<std::int64_t> memory = memory_bytes();
  return json_object(
      {{"cpu", json_string(cpu_name(clusters))},
       {"arch", json_string(arch)},
       {"system", json_string(system)},
       {"tiers", json_list(tiers)},
       {"tier", json_string(octavo::active_isa().token)},
       {"compiler", json_string(compiler())},
       {"cpus", json_number(cpus)},
       {"memory_bytes", json_number(memory ? std::optional<double>(*memory) : std::nullopt)}});
}

std::string cluster_json(const Cluster& cluster) {
  std::vector<std::string> cpus;
  for (const int cpu : cluster.cpus) cpus.push_back(std::to_string(cpu));
  std::string caches;
  for (const auto& [level, bytes] : cluster.caches) {
    caches += (caches.empty() ? "\"" : ", \"") + std::to_string(level) + "\": ";
    caches += std::to_string(bytes);
  }
  const auto capacity = cluster.capacity ? std::optional<double>(*cluster.capacity) : std::nullopt;
  return json_object({{"name", json_string(cluster.name)},
                      {"cpus", json_list(cpus)},
                      {"pinned", cluster.pinned ? "true" : "false"},
                      {"max_mhz", json_number(cluster.max_mhz)},
                      {"capacity", json_number(capacity)},
                      {"caches", "{" + caches + "}"}});
}

}  // namespace

struct Results::Row {
  double value, least, most, first, last;
  std::optional<double> share;
};

double Results::median_seconds(std::size_t step) const { return median(times_.at(step)); }

Results::Row Results::row(std::size_t number) const {
  const Step& step = steps_[number];
  std::vector<double> values;
  for (const double seconds : times_.at(number)) values.push_back(value_of(step.work, seconds));
  Row out{median(values),
          *std::min_element(values.begin(), values.end()),
          *std::max_element(values.begin(), values.end()),
          values.front(),
          values.back(),
          {}};
  double limit = 0;  // seconds
  if (step.dot) {
    limit = step.work.operations / steps_[*step.dot].work.operations * median_seconds(*step.dot);
  }
  if (step.memory) {
    limit = std::max(
        limit, step.work.bytes / steps_[*step.memory].work.bytes * median_seconds(*step.memory));
  }
  if (limit > 0) out.share = limit / median_seconds(number);
  return out;
}

void Results::take(std::size_t number, const Times& times) {
  times_[number] = times;
  const Step& step = steps_[number];
  if (!step.shown) return;
  const Row made = row(number);
  char share[16] = "";
  if (made.share) std::snprintf(share, sizeof share, "%3.0f%%", *made.share * 100);
  std::printf("%-16s %3d  %-9s %-22s %10.4g %-5s  %+5.0f%% %+5.0f%%  %s\n",
              clusters_[step.cluster].name.c_str(), step.threads, step.work.kind.c_str(),
              step.work.name.c_str(), made.value, unit_of(step.work.kind),
              (made.least / made.value - 1) * 100, (made.most / made.value - 1) * 100, share);
  std::fflush(stdout);
}

std::string Results::to_json(const std::string& when, double seconds, bool complete,
                             const std::vector<std::string>& notes) const {
  const std::string tier = json_string(octavo::active_isa().token);
  std::vector<std::string> clusters, results, sentences;
  for (const Cluster& cluster : clusters_) clusters.push_back("\n  " + cluster_json(cluster));
  for (const auto& [number, times] : times_) {
    const Step& step = steps_[number];
    if (!step.shown) continue;
    const Row made = row(number);
    JsonFields fields = {{"cluster", std::to_string(step.cluster)},
                         {"threads", std::to_string(step.threads)},
                         {"kind", json_string(step.work.kind)},
                         {"case", json_string(step.work.name)},
                         {"tier", tier},
                         {"value", json_number(made.value)},
                         {"unit", json_string(unit_of(step.work.kind))},
                         {"least", json_number(made.least)},
                         {"most", json_number(made.most)},
                         {"first", json_number(made.first)},
                         {"last", json_number(made.last)},
                         {"repetitions", std::to_string(times.size())},
                         {"share", json_number(made.share)}};
    if (step.work.buffer > 0) fields.emplace_back("bytes", json_number(step.work.buffer));
    results.push_back("\n  " + json_object(fields));
  }
  for (const std::string& note : notes) sentences.push_back("\n  " + json_string(note));
  return json_object({{"format", json_string("octavo-device")},
                      {"version", "1"},
                      {"program", json_string("octavo_bench")},
                      {"octavo", json_string(OCTAVO_VERSION)},
                      {"when", json_string(when)},
                      {"seconds", json_number(seconds)},
                      {"complete", complete ? "true" : "false"},
                      {"machine", machine_json(clusters_, cpus_)},
                      {"clusters", json_list(clusters)},
                      {"results", json_list(results)},
                      {"throttling", "null"},
                      {"energy", "null"},
                      {"notes", json_list(sentences)}}) +
         "\n";
}

}  // namespace octavo_bench
