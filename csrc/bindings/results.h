// SPDX-License-Identifier: Apache-2.0
// Arrays for results.
#pragma once
#include <pybind11/numpy.h>

#include <vector>

namespace octavo {

// An array of any bytes, to be written as a whole. A large one lies in memory of the result cache,
// which gets it back when neither the array nor a view of it is left.
pybind11::array new_result(std::vector<pybind11::ssize_t> shape, const pybind11::dtype& dtype);

}  // namespace octavo
