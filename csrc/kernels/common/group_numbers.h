// SPDX-License-Identifier: Apache-2.0
// Numbers of groups of inputs, scales or minima, in panels of 16 columns.
#pragma once
#include <stdint.h>

namespace octavo {

// How they are held; kSteps: float32(unit) * float32(step), rounded to float32, where a step is a
// byte and 8 groups have a unit in common, a binary16.
enum class GroupNumbers : int32_t { kNone, kFloat32, kFloat16, kSteps };

constexpr int kGroupsPerUnit = 8;

// A panel has 16 numbers of the first group, then of the next one, and units likewise. Nothing
// needs an alignment beyond its own.
struct PanelNumbers {
  GroupNumbers kind;
  const uint8_t* values;
  int64_t panel_bytes;
  const uint16_t* units;
  int64_t panel_units;  // elements from panel to panel
};

}  // namespace octavo
