// SPDX-License-Identifier: Apache-2.0
// octavo_bench: what `octavo bench --device` measures, without Python. docs/device.md describes the
// file; exit code 2 is about arguments, 1 about all else.
#include <chrono>
#include <cstdio>
#include <ctime>
#include <exception>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "clusters.h"
#include "dispatch/isa.h"
#include "measure.h"
#include "options.h"
#include "results.h"
#include "threads/cpu_count.h"

namespace octavo_bench {
namespace {

std::string now_in_utc() {
  const std::time_t now = std::time(nullptr);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
  return text;
}

// What the file must say beside its numbers.
std::vector<std::string> notes_on(const std::vector<Cluster>& clusters, const Options& options) {
  std::vector<std::string> out = {
      "models, throttling and energy are measured by octavo bench --device alone"};
  if (!options.only.empty()) out.push_back("only some cases were asked for");
  if (options.quick) out.push_back("quick: short turns, which noise disturbs more");
  for (const Cluster& cluster : clusters) {
    if (!cluster.pinned) {
      out.push_back(cluster.name + ": threads could not be held to its CPUs");
    }
    if (cluster.caches.empty()) {
      out.push_back(cluster.name +
                    ": sizes of caches are not known, buffers are 16 KiB, 256 KiB and 64 MiB");
    }
  }
  return out;
}

int measure_all(const Options& options) {
  const auto start = std::chrono::steady_clock::now();
  const std::string when = now_in_utc();
  const int cpus = octavo::usable_cpu_count();
  std::vector<Cluster> clusters = find_clusters("");
  for (Cluster& cluster : clusters) cluster.pinned = pin_threads(cluster.cpus);
  const std::vector<Step> steps = plan(clusters, cpus, options);
  const std::string unfinished = options.json + ".part";  // known to be writable beforehand
  std::ofstream file;
  if (!options.json.empty()) {
    file.open(unfinished);
    if (!file) throw std::runtime_error("--json: cannot write " + unfinished);
  }
  std::printf("tier %s\n%-16s %3s  %-9s %-22s %10s %-5s  %6s %6s  %s\n", octavo::active_isa().token,
              "CPUs", "T", "kind", "case", "median", "", "least", "most", "share of limit");
  Results results(steps, clusters, cpus);
  measure(steps, clusters, options.quick,
          [&](std::size_t step, const Times& times) { results.take(step, times); });
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  if (file.is_open()) {
    file << results.to_json(when, seconds.count(), options.only.empty(),
                            notes_on(clusters, options));
    file.close();
    if (!file) throw std::runtime_error("--json: cannot write " + unfinished);
    std::filesystem::rename(unfinished, options.json);
  }
  return 0;
}

int run(int argc, char** argv) {
  try {
    const Options options = parse_options(argc, argv);
    if (options.help) {
      std::fputs(kUsage, stdout);
      return 0;
    }
    if (!options.tier.empty()) octavo::force_isa(options.tier.c_str());
    if (options.calls == 0) return measure_all(options);
    call_only(options);
    return 0;
  } catch (const std::invalid_argument& error) {
    std::fprintf(stderr, "octavo_bench: %s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "octavo_bench: %s\n", error.what());
    return 1;
  }
}

}  // namespace
}  // namespace octavo_bench

int main(int argc, char** argv) { return octavo_bench::run(argc, argv); }
