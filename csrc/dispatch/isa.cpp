// SPDX-License-Identifier: Apache-2.0
#include "dispatch/isa.h"

#include <atomic>
#include <stdexcept>

#include "dispatch/cpu_features.h"

namespace octavo {
namespace {

#if OCTAVO_HAVE_AVX2
constexpr bool kAvx2Compiled = true;
#else
constexpr bool kAvx2Compiled = false;
#endif
#if OCTAVO_HAVE_AVXVNNI
constexpr bool kAvxVnniCompiled = true;
#else
constexpr bool kAvxVnniCompiled = false;
#endif
#if OCTAVO_HAVE_AVX512VNNI
constexpr bool kAvx512VnniCompiled = true;
#else
constexpr bool kAvx512VnniCompiled = false;
#endif
#if OCTAVO_HAVE_AVX512VBMI2
constexpr bool kAvx512Vbmi2Compiled = true;
#else
constexpr bool kAvx512Vbmi2Compiled = false;
#endif
#if OCTAVO_HAVE_AMX_INT8
constexpr bool kAmxInt8Compiled = true;
#else
constexpr bool kAmxInt8Compiled = false;
#endif

constexpr IsaMask kScalar = bit(Isa::Scalar);
constexpr IsaMask kAvx2 = kScalar | bit(Isa::Avx2);
constexpr IsaMask kAvxVnni = kAvx2 | bit(Isa::AvxVnni);
constexpr IsaMask kAvx512Vnni = kAvx2 | bit(Isa::Avx512Vnni);
constexpr IsaMask kAvx512Vbmi2 = kAvx512Vnni | bit(Isa::Avx512Vbmi2);
constexpr IsaMask kAmxInt8 = kAvx512Vbmi2 | bit(Isa::AvxVnni) | bit(Isa::AmxInt8);

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
  static const std::vector<IsaInfo> table = {
      {Isa::Scalar, "scalar", kScalar, true},
      {Isa::Avx2, "avx2", kAvx2, kAvx2Compiled},
      {Isa::AvxVnni, "avxvnni", kAvxVnni, kAvxVnniCompiled},
      {Isa::Avx512Vnni, "avx512vnni", kAvx512Vnni, kAvx512VnniCompiled},
      {Isa::Avx512Vbmi2, "avx512vbmi2", kAvx512Vbmi2, kAvx512Vbmi2Compiled},
      {Isa::AmxInt8, "amx_int8", kAmxInt8, kAmxInt8Compiled},
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
      if (info.compiled && cpu.supports(info.isa)) m |= bit(info.isa);
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
