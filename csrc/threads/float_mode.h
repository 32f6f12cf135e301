// SPDX-License-Identifier: Apache-2.0
// Results depend on the arguments alone, so not on what another library left in a thread's control
// register: subnormals flushed to zero (torch.set_flush_denormal, any library linked with
// -ffast-math), another rounding mode, unmasked traps.
#pragma once
#include <cstdint>

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
#elif defined(_M_ARM64)
#include <intrin.h>
#endif

namespace octavo {

// The mode of the calling thread is IEEE 754's default while this lives, then what it was before.
// About 5 ns where it was the default already: only the register is read.
class DefaultFloatMode {
 public:
  DefaultFloatMode() noexcept : before_(read()) {
    if (!is_default(before_)) write(kDefault);
  }
  ~DefaultFloatMode() {
    if (!is_default(before_)) write(before_);
  }
  DefaultFloatMode(const DefaultFloatMode&) = delete;
  DefaultFloatMode& operator=(const DefaultFloatMode&) = delete;

 private:
#if defined(__x86_64__) || defined(_M_X64)
  using Register = unsigned;                    // MXCSR
  static constexpr Register kDefault = 0x1f80;  // all traps masked
  static constexpr Register kFlags = 0x3f;      // raised so far: no part of the mode
  static Register read() noexcept { return _mm_getcsr(); }
  static void write(Register value) noexcept { _mm_setcsr(value); }
#elif defined(__aarch64__)
  using Register = std::uint64_t;  // FPCR
  static constexpr Register kDefault = 0, kFlags = 0;
  static Register read() noexcept {
    Register value;
    __asm__ volatile("mrs %0, fpcr" : "=r"(value));
    return value;
  }
  static void write(Register value) noexcept { __asm__ volatile("msr fpcr, %0" : : "r"(value)); }
#elif defined(_M_ARM64)
  using Register = __int64;
  static constexpr Register kDefault = 0, kFlags = 0;
  static Register read() noexcept { return _ReadStatusReg(ARM64_FPCR); }
  static void write(Register value) noexcept { _WriteStatusReg(ARM64_FPCR, value); }
#else
  using Register = int;
  static constexpr Register kDefault = 0, kFlags = 0;
  static Register read() noexcept { return 0; }
  static void write(Register) noexcept {}
#endif
  static bool is_default(Register value) noexcept { return (value & ~kFlags) == kDefault; }

  Register before_;
};

}  // namespace octavo
