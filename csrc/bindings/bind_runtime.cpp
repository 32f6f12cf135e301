// SPDX-License-Identifier: Apache-2.0
#include <optional>
#include <string>
#include <vector>

#include "bindings/gil.h"
#include "bindings/register.h"
#include "bindings/views.h"
#include "dispatch/cpu_features.h"
#include "dispatch/registry.h"
#include "ops/probes.h"
#include "threads/cpu_count.h"
#include "threads/pool.h"

namespace octavo {
namespace {

std::vector<std::string> tokens_of(IsaMask mask) {
  std::vector<std::string> out;
  const auto& table = isa_table();
  for (auto it = table.rbegin(); it != table.rend(); ++it) {
    if (mask & bit(it->isa)) out.emplace_back(it->token);
  }
  return out;
}

std::vector<std::string> compiled_tiers() {
  IsaMask mask = 0;
  for (const IsaInfo& info : isa_table()) mask |= info.compiled ? bit(info.isa) : 0u;
  return tokens_of(mask);
}

const char* token_of(Isa isa) {
  for (const IsaInfo& info : isa_table()) {
    if (info.isa == isa) return info.token;
  }
  return "";
}

nb::dict features() {
  const CpuFeatures& cpu = cpu_features();
  nb::dict out;
  for (const auto& [name, value] : cpu.flags) out[name.c_str()] = value;
  return out;
}

nb::dict machine() {
  const CpuFeatures& cpu = cpu_features();
  nb::dict out;
  out["vendor"] = cpu.vendor;
  out["brand"] = cpu.brand;
  out["l1d_bytes"] = cpu.l1d_bytes;
  out["l2_bytes"] = cpu.l2_bytes;
  return out;
}

nb::list kernels(const std::string& family) {
  nb::list out;
  for (const KernelInfo& info : list_kernels()) {
    if (info.family != family) continue;
    nb::dict kernel;
    kernel["name"] = info.name;
    kernel["isa"] = token_of(info.isa);
    kernel["available"] = (detected_isas() & bit(info.isa)) != 0;
    kernel["mr"] = info.mr;
    kernel["m_align"] = info.m_align;
    kernel["min_m"] = info.min_m;
    out.append(kernel);
  }
  if (out.size() == 0) {
    throw nb::value_error(("family: no kernel family '" + family + "'").c_str());
  }
  return out;
}

std::vector<std::string> families() {
  std::vector<std::string> out;
  for (const KernelInfo& info : list_kernels()) {
    if (out.empty() || out.back() != info.family) out.push_back(info.family);
  }
  return out;
}

std::string compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#elif defined(__GNUC__)
  return "gcc " __VERSION__;
#elif defined(_MSC_VER)
  return "msvc " + std::to_string(_MSC_VER);
#else
  return "unknown";
#endif
}

void set_threads(int n) {
  if (n < 1) bad_argument("n", "at least 1 thread");
  set_num_threads(n);
}

double checked_probe(double (*probe)(std::int64_t, int), std::int64_t bytes, int repeats) {
  if (bytes < 1 || repeats < 1) bad_argument("nbytes, repeats", "at least 1");
  return without_gil([&] { return probe(bytes, repeats); });
}

}  // namespace

void register_runtime(nb::module_& m) {
  using namespace nanobind::literals;
  m.def("version", [] { return OCTAVO_VERSION; });
  m.def("compiler", &compiler);
  m.def("cpu_features", &features);
  m.def("machine", &machine);
  m.def("isa_tiers", [] { return tokens_of(detected_isas()); });
  m.def("compiled_isa_tiers", &compiled_tiers);
  m.def("get_isa", [] { return active_isa().token; });
  m.def(
      "set_isa",
      [](const std::optional<std::string>& name) { force_isa(name ? name->c_str() : nullptr); },
      "name"_a);
  m.def("set_num_threads", &set_threads, "n"_a);
  m.def("get_num_threads", &get_num_threads);
  m.def("default_num_threads", &usable_cpu_count);
  m.def("families", &families);
  m.def("kernels", &kernels, "family"_a);
  m.def(
      "bench_dot_peak",
      [](double seconds) { return without_gil([&] { return probe_dot_peak(seconds); }); },
      "seconds"_a);
  m.def(
      "bench_read",
      [](std::int64_t bytes, int repeats) { return checked_probe(&probe_read, bytes, repeats); },
      "nbytes"_a, "repeats"_a);
  m.def(
      "bench_copy",
      [](std::int64_t bytes, int repeats) { return checked_probe(&probe_copy, bytes, repeats); },
      "nbytes"_a, "repeats"_a);
}

}  // namespace octavo
