// SPDX-License-Identifier: Apache-2.0
// The instruction-set tiers, one bit each. A tier's token is the same word in C++, CMake, the
// environment, Python and the tests.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace octavo {

enum class Isa : uint32_t {
  Scalar = 1u << 0,
  Avx2 = 1u << 1,
  AvxVnni = 1u << 2,
  Avx512Vnni = 1u << 3,
  Avx512Vbmi2 = 1u << 4,
  AmxInt8 = 1u << 5,
};

using IsaMask = uint32_t;

constexpr IsaMask bit(Isa isa) { return static_cast<IsaMask>(isa); }

struct IsaInfo {
  Isa isa;
  const char* token;
  IsaMask closure;  // the tier itself and all tiers whose kernels it may run
  bool compiled;
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
