// SPDX-License-Identifier: Apache-2.0
// Numbers of groups as sixteen lanes of float32; a tier's lanes come first.
#pragma once
#include "kernels/common/group_numbers.h"

namespace octavo {
namespace {

// A panel's, group by group.
struct NumbersOfPanel {
  GroupNumbers kind;
  const uint8_t* values;
  const uint16_t* units;

  NumbersOfPanel(const PanelNumbers& all, int64_t p)
      : kind(all.kind),
        values(all.values + p * all.panel_bytes),
        units(all.units + p * all.panel_units) {}

  F16 operator[](int64_t g) const {
    if (kind == GroupNumbers::kFloat32) return load((const float*)values + 16 * g);
    if (kind == GroupNumbers::kFloat16) return load_half((const uint16_t*)values + 16 * g);
    return mul(load_half(units + g / kGroupsPerUnit * 16), to_float(load_u8(values + 16 * g)));
  }
};

}  // namespace
}  // namespace octavo
