// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "bindings/packed_weight.h"
#include "weights/grouped.h"

namespace octavo {

constexpr std::int64_t kMostGroupedInputs = 1 << 30;

// How Python makes weights with scales of groups, and what it asks of them.
void register_grouped(nb::module_& m, nb::class_<PackedWeight>& weight);

}  // namespace octavo
