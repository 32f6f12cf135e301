// SPDX-License-Identifier: Apache-2.0
// Arrays for results.
#pragma once
#include "bindings/arrays.h"

namespace octavo {

// An array of any bytes, to be written as a whole. A large one lies in memory of the result cache,
// which gets it back when neither the array nor a view of it is left.
Array new_result(const Shape& shape, const Dtype& dtype);

}  // namespace octavo
