// SPDX-License-Identifier: Apache-2.0
// Detection in the order that makes a later instruction safe. x86: CPUID says what the CPU has,
// OSXSAVE + XGETBV say which register states the operating system saves, and AMX needs a
// permission of its own on Linux. ARM: programs may not read the CPU's registers everywhere, and
// the operating system says what they may use.
#include "dispatch/cpu_features.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>

#if defined(__x86_64__) || defined(_M_X64)
#define OCTAVO_X86 1
#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#elif defined(__aarch64__) || defined(_M_ARM64)
#define OCTAVO_ARM64 1
#if defined(__linux__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(_WIN32)
#define NOMINMAX
#include <windows.h>
#endif
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace octavo {
namespace {

#if OCTAVO_X86

struct Regs {
  uint32_t a = 0, b = 0, c = 0, d = 0;
};

Regs cpuid(uint32_t leaf, uint32_t subleaf) {
  Regs r;
#if defined(_MSC_VER)
  int out[4];
  __cpuidex(out, static_cast<int>(leaf), static_cast<int>(subleaf));
  std::memcpy(&r, out, sizeof r);
#else
  __cpuid_count(leaf, subleaf, r.a, r.b, r.c, r.d);
#endif
  return r;
}

uint64_t xgetbv() {
#if defined(_MSC_VER)
  return _xgetbv(0);
#else
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
#endif
}

// Linux hands out the tile state only on request (arch_prctl ARCH_REQ_XCOMP_PERM, feature 18).
bool request_amx_permission() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  constexpr long kRequestPermission = 0x1023;
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#elif defined(_WIN32)
  return true;
#else
  return false;
#endif
}

// CPUID leaf 4 (Intel) and 0x8000001d (AMD) describe the caches in the same words.
void read_caches(uint32_t leaf, CpuFeatures& out) {
  for (uint32_t i = 0; i < 8; ++i) {
    const Regs r = cpuid(leaf, i);
    const uint32_t type = r.a & 31u;
    if (type == 0) break;
    const std::size_t size = static_cast<std::size_t>((r.b >> 22) + 1) *
                             (((r.b >> 12) & 1023u) + 1) * ((r.b & 4095u) + 1) *
                             (static_cast<std::size_t>(r.c) + 1);
    const uint32_t level = (r.a >> 5) & 7u;
    const bool data = type == 1 || type == 3;
    if (level == 1 && data) out.l1d_bytes = size;
    if (level == 2 && data) out.l2_bytes = size;
  }
}

std::string brand_string() {
  char text[49] = {};
  if (cpuid(0x80000000u, 0).a < 0x80000004u) return text;
  for (uint32_t i = 0; i < 3; ++i) {
    const Regs r = cpuid(0x80000002u + i, 0);
    std::memcpy(text + 16 * i, &r, 16);
  }
  std::string s(text);
  s.erase(0, s.find_first_not_of(' '));
  return s;
}

CpuFeatures probe() {
  CpuFeatures out;
  const Regs leaf0 = cpuid(0, 0);
  char vendor[13] = {};
  std::memcpy(vendor, &leaf0.b, 4);
  std::memcpy(vendor + 4, &leaf0.d, 4);
  std::memcpy(vendor + 8, &leaf0.c, 4);
  out.vendor = vendor;
  out.brand = brand_string();

  const Regs leaf1 = cpuid(1, 0);
  const bool osxsave = (leaf1.c >> 27) & 1u;
  const uint64_t xcr0 = osxsave ? xgetbv() : 0;
  const bool os_avx = (xcr0 & 0x6) == 0x6;
  const bool os_avx512 = os_avx && (xcr0 & 0xe0) == 0xe0;
  const bool os_tiles = (xcr0 & 0x60000) == 0x60000;
  Regs leaf7, leaf7_1;
  if (leaf0.a >= 7) {
    leaf7 = cpuid(7, 0);
    if (leaf7.a >= 1) leaf7_1 = cpuid(7, 1);
  }
  const auto set = [&out](const char* name, bool value) { out.flags.emplace_back(name, value); };
  const auto test = [](uint32_t reg, int index) { return ((reg >> index) & 1u) != 0; };
  set("sse4_1", test(leaf1.c, 19));
  set("avx", os_avx && test(leaf1.c, 28));
  set("f16c", os_avx && test(leaf1.c, 29));
  set("fma", os_avx && test(leaf1.c, 12));
  set("avx2", os_avx && test(leaf7.b, 5));
  set("avxvnni", os_avx && test(leaf7_1.a, 4));
  set("avx512f", os_avx512 && test(leaf7.b, 16));
  set("avx512dq", os_avx512 && test(leaf7.b, 17));
  set("avx512bw", os_avx512 && test(leaf7.b, 30));
  set("avx512vl", os_avx512 && test(leaf7.b, 31));
  set("avx512vbmi", os_avx512 && test(leaf7.c, 1));
  set("avx512vbmi2", os_avx512 && test(leaf7.c, 6));
  set("avx512vnni", os_avx512 && test(leaf7.c, 11));
  const bool amx = os_tiles && test(leaf7.d, 24) && test(leaf7.d, 25);
  set("amx_int8", amx && request_amx_permission());
  const bool amd = out.vendor == "AuthenticAMD" || out.vendor == "HygonGenuine";
  read_caches(amd ? 0x8000001du : 4u, out);
  return out;
}

#elif OCTAVO_ARM64

#if defined(__linux__)

struct ArmFlags {
  // Bits of HWCAP and HWCAP2, which Linux never changes; its headers may be older.
  bool neon = (getauxval(AT_HWCAP) >> 1 & 1) != 0;
  bool dotprod = (getauxval(AT_HWCAP) >> 20 & 1) != 0;
  bool i8mm = (getauxval(AT_HWCAP2) >> 13 & 1) != 0;
};

// One word of a file below the folder of a cache; empty where there is none.
std::string cache_word(long cpu, int index, const char* name) {
  char path[96], word[32] = {};
  std::snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%ld/cache/index%d/%s", cpu, index,
                name);
  std::FILE* file = std::fopen(path, "r");
  if (file == nullptr) return {};
  const bool found = std::fscanf(file, "%31s", word) == 1;
  std::fclose(file);
  return found ? word : "";
}

// Of all cores the smallest: a thread may run on any. Phones have up to ten of three kinds, and
// machines with more cores have one kind of them.
void read_caches(CpuFeatures& out) {
  const long cpus = std::min(sysconf(_SC_NPROCESSORS_CONF), 16L);
  std::size_t l1d = 0, l2 = 0;
  for (long cpu = 0; cpu < cpus; ++cpu) {
    for (int index = 0; index < 4; ++index) {
      const std::string level = cache_word(cpu, index, "level");
      if (level.empty()) break;
      const std::string size = cache_word(cpu, index, "size");
      unsigned long count = 0;
      char unit = 0;
      if (std::sscanf(size.c_str(), "%lu%c", &count, &unit) < 1 || count == 0) continue;
      const std::size_t bytes = count << (unit == 'K' ? 10 : unit == 'M' ? 20 : 0);
      const bool data = cache_word(cpu, index, "type") != "Instruction";
      std::size_t& least = level == "1" ? l1d : l2;
      if (data && level <= "2") least = least == 0 ? bytes : std::min(least, bytes);
    }
  }
  if (l1d != 0) out.l1d_bytes = l1d;
  if (l2 != 0) out.l2_bytes = l2;
}

#elif defined(__APPLE__)

std::size_t system_number(const char* name) {
  std::int64_t value = 0;  // little-endian: numbers of 32 bits come out right
  std::size_t size = sizeof value;
  return sysctlbyname(name, &value, &size, nullptr, 0) == 0 ? static_cast<std::size_t>(value) : 0;
}

struct ArmFlags {
  bool neon = true;
  bool dotprod = system_number("hw.optional.arm.FEAT_DotProd") != 0;
  bool i8mm = system_number("hw.optional.arm.FEAT_I8MM") != 0;
};

void read_caches(CpuFeatures& out) {
  if (const std::size_t bytes = system_number("hw.l1dcachesize")) out.l1d_bytes = bytes;
  if (const std::size_t bytes = system_number("hw.l2cachesize")) out.l2_bytes = bytes;
}

#else

struct ArmFlags {
  bool neon = true;
#if defined(PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE)
  bool dotprod = IsProcessorFeaturePresent(PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE) != 0;
#else
  bool dotprod = false;
#endif
#if defined(PF_ARM_V82_I8MM_INSTRUCTIONS_AVAILABLE)
  bool i8mm = IsProcessorFeaturePresent(PF_ARM_V82_I8MM_INSTRUCTIONS_AVAILABLE) != 0;
#else
  bool i8mm = false;
#endif
};

void read_caches(CpuFeatures&) {}

#endif

CpuFeatures probe() {
  const ArmFlags flags;
  CpuFeatures out;
  out.flags = {{"neon", flags.neon}, {"dotprod", flags.dotprod}, {"i8mm", flags.i8mm}};
  read_caches(out);
  return out;
}

#else

CpuFeatures probe() { return {}; }

#endif

#if !OCTAVO_EMULATED_BUILD
#define OCTAVO_IN_SOFTWARE ""
#endif

// Whether a tier asks nothing of the CPU: in tests, some run in software.
bool in_software(const IsaInfo& tier) {
  for (const char* token : {OCTAVO_IN_SOFTWARE}) {
    if (std::strcmp(tier.token, token) == 0) return true;
  }
  return false;
}

}  // namespace

bool CpuFeatures::has(const char* flag) const {
  for (const auto& entry : flags) {
    if (entry.first == flag) return entry.second;
  }
  return false;
}

bool CpuFeatures::supports(const IsaInfo& tier) const {
  for (const IsaInfo& info : isa_table()) {
    if (!(tier.closure & bit(info.isa)) || in_software(info)) continue;
    for (const char* flag : info.flags) {
      if (!has(flag)) return false;
    }
  }
  return true;
}

const CpuFeatures& cpu_features() {
  // Never destroyed: other threads may compute while the process leaves.
  static const CpuFeatures& features = *new CpuFeatures(probe());
  return features;
}

}  // namespace octavo
