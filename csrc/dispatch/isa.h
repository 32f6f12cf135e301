// SPDX-License-Identifier: Apache-2.0
// The instruction-set tiers of isa.inc, one bit each.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace octavo {

// A tier's row in isa.inc, and its bit.
enum class IsaRow : uint32_t {
#define OCTAVO_ISA(name, ...) name,
#include "dispatch/isa.inc"
};
enum class Isa : uint32_t {
#define OCTAVO_ISA(name, ...) name = 1u << static_cast<uint32_t>(IsaRow::name),
#include "dispatch/isa.inc"
};

using IsaMask = uint32_t;

constexpr IsaMask bit(Isa isa) { return static_cast<IsaMask>(isa); }

struct IsaInfo {
  Isa isa;
  const char* token;
  IsaMask closure;  // the tier itself and all tiers whose kernels it may run
  bool compiled;
  std::vector<const char*> flags;  // what the CPU must have besides the flags of the closure
};

// Worst first. The order among tiers is the order of preference.
const std::vector<IsaInfo>& isa_table();

const IsaInfo* find_isa(const std::string& token);

// Tiers that are compiled in and that CPU and operating system support.
IsaMask detected_isas();

// What select() may use now: detected_isas(), narrowed by force_isa().
IsaMask active_isas() noexcept;

// The best tier of active_isas().
const IsaInfo& active_isa();

// Narrows active_isas() to a tier and what it implies; nullptr lifts that. Throws
// std::invalid_argument when the tier is unknown, not compiled in, or not supported here.
void force_isa(const char* token);

}  // namespace octavo
