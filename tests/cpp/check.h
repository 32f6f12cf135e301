// SPDX-License-Identifier: Apache-2.0
// Checks, random numbers and bit comparison for the C++ tests: all a test needs, no framework.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

namespace octavo_test {

// Counts a check; a failed one is printed (the first few) and makes the program exit non-zero.
void check(bool ok, const std::string& what);
int finish();  // prints the counts; the exit code

// SplitMix64: small, seeded, the same everywhere.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(high - low + 1));
  }
  // In (-scale, scale).
  float real(float scale) { return (static_cast<float>(next() >> 40) / 8388608.0f - 1.0f) * scale; }

 private:
  std::uint64_t state_;
};

template <class T>
bool same_bits(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (a != a || b != b) return a != a && b != b;  // any NaN equals any NaN
  }
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}

// Checks count values; names the first that differs.
template <class T>
void check_same(const T* actual, const T* expected, std::int64_t count, const std::string& what) {
  for (std::int64_t i = 0; i < count; ++i) {
    if (same_bits(actual[i], expected[i])) continue;
    check(false, what + ": [" + std::to_string(i) + "] is " + std::to_string(actual[i]) +
                     ", expected " + std::to_string(expected[i]));
    return;
  }
  check(true, what);
}

inline std::int64_t round_up(std::int64_t x, std::int64_t multiple) {
  return (x + multiple - 1) / multiple * multiple;
}

}  // namespace octavo_test
