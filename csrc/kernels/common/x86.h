// SPDX-License-Identifier: Apache-2.0
// The one door to x86 intrinsics. A test build may put software twins behind it, so that tiers
// the machine lacks still run (tests/emulation).
#pragma once
#if defined(OCTAVO_EMULATE)
#include "emulated_x86.h"
#else
#include <immintrin.h>
#endif
