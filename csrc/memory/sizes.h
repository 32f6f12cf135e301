// SPDX-License-Identifier: Apache-2.0
// Arithmetic on sizes, none of them negative. Those that a caller chose may be anything, and a
// product that wrapped would be a small buffer: what does not fit 64 bits is an error.
#pragma once
#include <cstdint>
#include <limits>
#include <stdexcept>

namespace octavo {

inline std::int64_t checked_mul(std::int64_t a, std::int64_t b) {
#if defined(__GNUC__)
  std::int64_t product = 0;
  const bool wraps = __builtin_mul_overflow(a, b, &product);
#else
  const bool wraps = a != 0 && b > std::numeric_limits<std::int64_t>::max() / a;
  const std::int64_t product = wraps ? 0 : a * b;
#endif
  if (wraps) throw std::length_error("sizes: their product does not fit 64 bits");
  return product;
}

inline std::int64_t checked_add(std::int64_t a, std::int64_t b) {
  if (b > std::numeric_limits<std::int64_t>::max() - a) {
    throw std::length_error("sizes: their sum does not fit 64 bits");
  }
  return a + b;
}

// Modulo 2^32: zero points are anything a caller gave, and sums are corrected modulo 2^32.
inline std::int32_t wrapping_add(std::int32_t a, std::int32_t b) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(a) + static_cast<std::uint32_t>(b));
}

inline std::int32_t wrapping_mul(std::int32_t a, std::int32_t b) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(a) * static_cast<std::uint32_t>(b));
}

// The product of all.
template <class... Sizes>
std::int64_t checked_mul(std::int64_t a, std::int64_t b, std::int64_t c, Sizes... more) {
  return checked_mul(checked_mul(a, b), c, more...);
}

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return a / b + (a % b != 0 ? 1 : 0);
}

inline std::int64_t round_up(std::int64_t x, std::int64_t multiple) {
  return checked_mul(ceil_div(x, multiple), multiple);
}

}  // namespace octavo
