// SPDX-License-Identifier: Apache-2.0
// NumPy arguments as the plain views ops take. Python code checks arguments and words the errors;
// what is checked here again keeps a direct caller of _core from crashing the interpreter.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>

#include "ops/linear.h"

namespace octavo {

namespace py = pybind11;

[[noreturn]] inline void bad_argument(const char* name, const char* expected) {
  throw py::value_error(std::string(name) + ": expected " + expected);
}

// NumPy's own type number, and machine byte order.
template <class T>
bool has_dtype(const py::array& array) {
  const py::dtype dtype = array.dtype();
  return dtype.normalized_num() == py::dtype::num_of<T>() && dtype.byteorder() != '>';
}

inline bool is_contiguous(const py::array& array) {
  return (array.flags() & py::array::c_style) != 0;
}

// The elements of a C-contiguous array of T with `ndim` dimensions.
template <class T>
const T* contiguous(const py::array& array, int ndim, const char* name) {
  if (!has_dtype<T>(array) || array.ndim() != ndim || !is_contiguous(array)) {
    bad_argument(name, "a C-contiguous array of the documented dtype and rank");
  }
  return static_cast<const T*>(array.data());
}

template <class T>
T* writable(py::array& array, const char* name) {
  if (!has_dtype<T>(array) || !is_contiguous(array) || !array.writeable()) {
    bad_argument(name, "a writable C-contiguous array of the documented dtype");
  }
  return static_cast<T*>(array.mutable_data());
}

// Two dimensions with unit stride along the last one; rows may lie anywhere.
template <class T>
Rows<const T> rows(const py::array& array, const char* name) {
  if (!has_dtype<T>(array) || array.ndim() != 2) {
    bad_argument(name, "a two-dimensional array of the documented dtype");
  }
  const auto item = static_cast<py::ssize_t>(sizeof(T));
  const bool unit = array.strides(1) == item || array.shape(1) <= 1 || array.size() == 0;
  if (!unit || array.strides(0) % item != 0) bad_argument(name, "unit stride along the last axis");
  return {static_cast<const T*>(array.data()), array.strides(0) / item};
}

}  // namespace octavo
