// SPDX-License-Identifier: Apache-2.0
// NumPy arguments as the plain views ops take. Python code checks arguments and words the errors;
// what is checked here again keeps a direct caller of _core from crashing the interpreter.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "memory/sizes.h"
#include "ops/linear.h"
#include "threads/interrupt.h"

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

// Elements at multiples of their size. Streaming stores fault elsewhere.
inline bool is_aligned(const py::array& array) {
  return (array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_) != 0;
}

inline bool is_contiguous(const py::array& array) {
  return (array.flags() & py::array::c_style) != 0 && is_aligned(array);
}

// The elements of an aligned, C-contiguous array of T with `ndim` dimensions.
template <class T>
const T* contiguous(const py::array& array, int ndim, const char* name) {
  if (!has_dtype<T>(array) || array.ndim() != ndim || !is_contiguous(array)) {
    bad_argument(name, "an aligned, C-contiguous array of the documented dtype and rank");
  }
  return static_cast<const T*>(array.data());
}

template <class T>
T* writable(py::array& array, const char* name) {
  if (!has_dtype<T>(array) || !is_contiguous(array) || !array.writeable()) {
    bad_argument(name, "a writable, aligned, C-contiguous array of the documented dtype");
  }
  return static_cast<T*>(array.mutable_data());
}

// The bytes from the first element to the end of the last; none where there are no elements.
struct Extent {
  const char *begin, *end;
};

inline Extent extent(const py::array& array) {
  const auto* begin = static_cast<const char*>(array.data());
  const char* end = begin;
  if (array.size() == 0) return {begin, end};
  for (py::ssize_t i = 0; i < array.ndim(); ++i) {
    const py::ssize_t span = (array.shape(i) - 1) * array.strides(i);
    (span < 0 ? begin : end) += span;
  }
  return {begin, end + array.itemsize()};
}

inline bool overlap(const py::array& x, const py::array& y) {
  const Extent a = extent(x), b = extent(y);
  return a.begin < b.end && b.begin < a.end;
}

enum class InPlace { kNo, kYes };

// Refuses an output whose bytes lie among those of an input, which would be read after they were
// written. Where an operation works in place, the output may be exactly the input.
inline void check_apart(const py::array& out, const py::array& in, const char* name,
                        InPlace in_place = InPlace::kNo) {
  if (!overlap(out, in)) return;
  const bool same = out.data() == in.data() && out.size() == in.size() && is_contiguous(in) &&
                    out.itemsize() == in.itemsize();
  if (in_place == InPlace::kYes && same) return;
  const std::string but = in_place == InPlace::kYes ? ", or exactly " + std::string(name) : "";
  bad_argument("out", ("memory that does not overlap " + std::string(name) + but).c_str());
}

inline void check_apart(const py::array& out, const std::optional<py::array>& in, const char* name,
                        InPlace in_place = InPlace::kNo) {
  if (in) check_apart(out, *in, name, in_place);
}

// A copy of the caller's elements: another thread may write to them between a check and the use of
// what was checked, so what indexes memory, or is counted before it is written, is taken first.
template <class T>
std::vector<T> copied(const T* data, std::int64_t count) {
  constexpr std::int64_t kPiece = std::int64_t{1} << 20;
  std::vector<T> copy;
  copy.reserve(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; i += kPiece) {
    interruption_point();
    copy.insert(copy.end(), data + i, data + std::min(count, i + kPiece));
  }
  return copy;
}

// Elements from one index of an axis to the next. Where the axis is never stepped along, NumPy lets
// the stride be anything.
inline py::ssize_t stride_of(const py::array& array, int axis, py::ssize_t item, const char* name) {
  if (array.shape(axis) <= 1 || array.size() == 0) return 0;
  if (array.strides(axis) % item != 0) bad_argument(name, "strides of whole elements");
  return array.strides(axis) / item;
}

// Two dimensions with unit stride along the last one; rows may lie anywhere.
template <class T>
Rows<const T> rows(const py::array& array, const char* name) {
  if (!has_dtype<T>(array) || array.ndim() != 2 || !is_aligned(array)) {
    bad_argument(name, "an aligned two-dimensional array of the documented dtype");
  }
  const auto item = static_cast<py::ssize_t>(sizeof(T));
  const bool unit = array.strides(1) == item || array.shape(1) <= 1 || array.size() == 0;
  if (!unit) bad_argument(name, "unit stride along the last axis");
  return {static_cast<const T*>(array.data()), stride_of(array, 0, item, name)};
}

// An object that __new__ made and __init__ never saw has no C++ object: pybind11 would allocate one
// just then, uninitialised, by asking the class's operator new. This one refuses.
template <class T>
void refuse_uninitialised() {
  py::detail::get_type_info(typeid(T))->operator_new = [](std::size_t) -> void* {
    throw py::type_error("self: expected an initialised object, got one of __new__ alone");
  };
}

}  // namespace octavo
