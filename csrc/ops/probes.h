// SPDX-License-Identifier: Apache-2.0
// What this machine can do at best, for the roofline: measured, with the tier and threads in use.
#pragma once
#include <cstdint>

namespace octavo {

// GOP/s (1e9 multiplies and additions a second) of one thread in the tier's dot unit.
double probe_dot_peak(double seconds);

// GB/s of reading `bytes` (rounded up to 256 per thread), median of `repeats` turns. A turn is one
// pass, or as many as take half a millisecond.
double probe_read(std::int64_t bytes, int repeats);

// GB/s of memcpy over `bytes`, counting bytes read plus bytes written, median of `repeats`
// turns.
double probe_copy(std::int64_t bytes, int repeats);

}  // namespace octavo
