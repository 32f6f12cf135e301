// SPDX-License-Identifier: Apache-2.0
// Kernel family dot_peak: the roofline's compute limit. A loop that does nothing but the tier's
// exact int8 dot product on registers, in as many independent chains as hide its latency.
#pragma once
#include <stdint.h>

namespace octavo {

struct DotPeakArgs {
  int64_t iterations;
  int64_t* operations;  // out: multiplies plus additions done
  int32_t* sink;        // out: keeps the compiler from dropping the work
};

}  // namespace octavo
