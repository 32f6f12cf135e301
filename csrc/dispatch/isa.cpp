// SPDX-License-Identifier: Apache-2.0
#include "dispatch/isa.h"

#include <atomic>
#include <stdexcept>

#include "dispatch/cpu_features.h"

namespace octavo {
namespace {

// The closures.
#define OCTAVO_ISA(name, token, compiled, implied, ...) \
  constexpr IsaMask k##name = bit(Isa::name) | (implied);
#include "dispatch/isa.inc"

std::string known_tokens() {
  std::string out;
  for (const IsaInfo& info : isa_table())
    out += (out.empty() ? "" : ", ") + std::string(info.token);
  return out;
}

std::atomic<IsaMask>& forced_mask() {
  static std::atomic<IsaMask> mask{~0u};
  return mask;
}

}  // namespace

const std::vector<IsaInfo>& isa_table() {
  // Never destroyed: other threads may compute while the process leaves.
  static const auto& table = *new std::vector<IsaInfo>{
#define OCTAVO_ISA(name, token, compiled, implied, ...) \
  {Isa::name, #token, k##name, compiled != 0, {__VA_ARGS__}},
#include "dispatch/isa.inc"
  };
  return table;
}

const IsaInfo* find_isa(const std::string& token) {
  for (const IsaInfo& info : isa_table()) {
    if (token == info.token) return &info;
  }
  return nullptr;
}

IsaMask detected_isas() {
  static const IsaMask mask = [] {
    const CpuFeatures& cpu = cpu_features();
    IsaMask m = 0;
    for (const IsaInfo& info : isa_table()) {
      if (info.compiled && cpu.supports(info)) m |= bit(info.isa);
    }
    return m;
  }();
  return mask;
}

IsaMask active_isas() noexcept {
  static const IsaMask detected = detected_isas();
  return detected & forced_mask().load(std::memory_order_relaxed);
}

const IsaInfo& active_isa() {
  const IsaMask mask = active_isas();
  const std::vector<IsaInfo>& table = isa_table();
  for (auto it = table.rbegin(); it != table.rend(); ++it) {
    if (mask & bit(it->isa)) return *it;
  }
  return table.front();
}

void force_isa(const char* token) {
  if (token == nullptr) {
    forced_mask().store(~0u, std::memory_order_relaxed);
    return;
  }
  const IsaInfo* info = find_isa(token);
  if (info == nullptr) {
    throw std::invalid_argument("isa: unknown tier '" + std::string(token) + "', expected one of " +
                                known_tokens());
  }
  if (!info->compiled) {
    throw std::invalid_argument("isa: tier '" + std::string(token) +
                                "' was not compiled into this build");
  }
  if (!(detected_isas() & bit(info->isa))) {
    throw std::invalid_argument("isa: tier '" + std::string(token) +
                                "' is not supported by this CPU or operating system");
  }
  forced_mask().store(info->closure, std::memory_order_relaxed);
}

}  // namespace octavo
