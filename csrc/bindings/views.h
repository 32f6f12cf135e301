// SPDX-License-Identifier: Apache-2.0
// NumPy arguments as the plain views ops take. Python code checks arguments and words the errors;
// what is checked here again keeps a direct caller of _core from crashing the interpreter.
#pragma once
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bindings/arrays.h"
#include "memory/sizes.h"
#include "ops/linear.h"
#include "threads/interrupt.h"

namespace octavo {

[[noreturn]] inline void bad_argument(const char* name, const char* expected) {
  throw nb::value_error((std::string(name) + ": expected " + expected).c_str());
}

// The elements of an aligned, C-contiguous array of T with `ndim` dimensions.
template <class T>
const T* contiguous(const Array& array, int ndim, const char* name) {
  if (!array.has_type(kElement<T>) || array.ndim() != ndim || !array.is_contiguous()) {
    bad_argument(name, "an aligned, C-contiguous array of the documented dtype and rank");
  }
  return static_cast<const T*>(array.data());
}

template <class T>
T* writable(const Array& array, const char* name) {
  if (!array.has_type(kElement<T>) || !array.is_contiguous() || !array.is_writable()) {
    bad_argument(name, "a writable, aligned, C-contiguous array of the documented dtype");
  }
  return static_cast<T*>(array.data());
}

// The bytes from the first element to the end of the last; none where there are no elements.
struct Extent {
  const char *begin, *end;
};

inline Extent extent(const Array& array) {
  const auto* begin = array.as<const char>();
  const char* end = begin;
  if (array.size() == 0) return {begin, end};
  for (int i = 0; i < array.ndim(); ++i) {
    const Py_ssize_t span = (array.shape(i) - 1) * array.strides(i);
    (span < 0 ? begin : end) += span;
  }
  return {begin, end + array.itemsize()};
}

inline bool overlap(const Array& x, const Array& y) {
  const Extent a = extent(x), b = extent(y);
  return a.begin < b.end && b.begin < a.end;
}

enum class InPlace { kNo, kYes };

// Refuses an output whose bytes lie among those of an input, which would be read after they were
// written. Where an operation works in place, the output may be exactly the input.
inline void check_apart(const Array& out, const Array& in, const char* name,
                        InPlace in_place = InPlace::kNo) {
  if (!overlap(out, in)) return;
  const bool same = out.data() == in.data() && out.size() == in.size() && in.is_contiguous() &&
                    out.itemsize() == in.itemsize();
  if (in_place == InPlace::kYes && same) return;
  const std::string but = in_place == InPlace::kYes ? ", or exactly " + std::string(name) : "";
  bad_argument("out", ("memory that does not overlap " + std::string(name) + but).c_str());
}

inline void check_apart(const Array& out, const std::optional<Array>& in, const char* name,
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
inline Py_ssize_t stride_of(const Array& array, int axis, Py_ssize_t item, const char* name) {
  if (array.shape(axis) <= 1 || array.size() == 0) return 0;
  if (array.strides(axis) % item != 0) bad_argument(name, "strides of whole elements");
  return array.strides(axis) / item;
}

// Two dimensions with unit stride along the last one; rows may lie anywhere.
template <class T>
Rows<const T> rows(const Array& array, const char* name) {
  if (!array.has_type(kElement<T>) || array.ndim() != 2 || !array.is_aligned()) {
    bad_argument(name, "an aligned two-dimensional array of the documented dtype");
  }
  const auto item = static_cast<Py_ssize_t>(sizeof(T));
  const bool unit = array.strides(1) == item || array.shape(1) <= 1 || array.size() == 0;
  if (!unit) bad_argument(name, "unit stride along the last axis");
  return {static_cast<const T*>(array.data()), stride_of(array, 0, item, name)};
}

}  // namespace octavo
