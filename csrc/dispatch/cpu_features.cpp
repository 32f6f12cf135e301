// SPDX-License-Identifier: Apache-2.0
// Detection in the order that makes a later instruction safe: CPUID says what the CPU has,
// OSXSAVE + XGETBV say which register states the operating system saves, and AMX needs a
// permission of its own on Linux.
#include "dispatch/cpu_features.h"

#include <cstdint>
#include <cstring>

#if defined(__x86_64__) || defined(_M_X64)
#define OCTAVO_X86 1
#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
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

#else

CpuFeatures probe() { return {}; }

#endif

}  // namespace

bool CpuFeatures::has(const char* flag) const {
  for (const auto& entry : flags) {
    if (entry.first == flag) return entry.second;
  }
  return false;
}

bool CpuFeatures::supports(const IsaInfo& tier) const {
#if OCTAVO_EMULATED_BUILD  // tests only: the tiers above AVX2 ask nothing of the CPU
  constexpr IsaMask kInSoftware = ~(bit(Isa::Scalar) | bit(Isa::Avx2));
#else
  constexpr IsaMask kInSoftware = 0;
#endif
  for (const IsaInfo& info : isa_table()) {
    if (!(tier.closure & bit(info.isa)) || (kInSoftware & bit(info.isa))) continue;
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
