// SPDX-License-Identifier: Apache-2.0
// The one door to x86 intrinsics. A test build may put software twins behind it, so that tiers
// the machine lacks still run (tests/emulation).
#pragma once
#if defined(OCTAVO_EMULATE)
#include "emulated_x86.h"
#else
#include <immintrin.h>
#endif

// Makes the compiler take p for changed: what lies behind it is read again instead of being kept
// in registers that are needed for more.
#if defined(_MSC_VER) && !defined(__clang__)
#define OCTAVO_FORGET(p) ((void)0)
#else
#define OCTAVO_FORGET(p) __asm__ volatile("" : "+r"(p))
#endif
