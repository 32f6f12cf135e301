// SPDX-License-Identifier: Apache-2.0
// Kernel family expand_steps: numbers of a panel's groups that are steps of a unit, as float32.
//
//   y[g][n] = float32(unit[g / 8][n]) * float32(steps[g][n])     16 columns n; unit: IEEE binary16
//
// The product is rounded to float32. Nothing needs an alignment beyond its own.
#pragma once
#include <stdint.h>

namespace octavo {

struct ExpandStepsArgs {
  const uint8_t* steps;
  const uint16_t* unit;
  float* y;
  int64_t groups;
};

constexpr int kGroupsPerUnit = 8;

}  // namespace octavo
