// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <cstdint>

namespace octavo {

// At least `bytes` of the calling thread's scratch memory, aligned to 64; valid until the thread's
// next call. Kept between calls, so that a warm call allocates nothing. Throws std::bad_alloc.
std::uint8_t* scratch(std::size_t bytes);

}  // namespace octavo
