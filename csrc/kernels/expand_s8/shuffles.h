// SPDX-License-Identifier: Apache-2.0
// Which of eight values each bit of a mask's byte takes, as an index of a shuffle.
#pragma once
#include <stdint.h>

namespace octavo {
namespace {

// index[b][i]: how many bits of b lie below bit i where that is set; elsewhere 128, which shuffles
// to zero.
struct Shuffles {
  uint8_t index[256][8];
};

constexpr Shuffles all_shuffles() {
  Shuffles made{};
  for (int b = 0; b < 256; ++b) {
    int below = 0;
    for (int i = 0; i < 8; ++i) {
      const bool set = (b >> i & 1) != 0;
      made.index[b][i] = (uint8_t)(set ? below : 128);
      below += set;
    }
  }
  return made;
}

constexpr Shuffles kShuffles = all_shuffles();

}  // namespace
}  // namespace octavo
