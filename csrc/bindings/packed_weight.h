// SPDX-License-Identifier: Apache-2.0
// Weights that Python holds apart from the layers that use them.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bindings/views.h"
#include "weights/formats.h"

namespace octavo {

// Layers may have it in common, also with other processes.
struct PackedWeight {
  std::shared_ptr<const Weight> weight;
  const char* format;
};

const WeightFormat& format_named(const std::string& name);

// The elements of codes (n, k) that a format takes.
const std::int8_t* checked_codes(const py::array& codes, const WeightFormat& format);

// The codes, (n, k).
py::array_t<std::int8_t> unpacked(const Weight& weight);

// The bytes of an array that nobody may write to any more, kept alive with what is made of them.
AlignedBuffer bytes_of(const py::array& packed);

// A view into the layer, which stays alive with it.
template <class T>
py::array view_of(const py::object& owner, const T* data, std::vector<py::ssize_t> shape) {
  return py::array_t<T>(std::move(shape), data, owner);
}

template <class T>
py::array read_only(const py::object& owner, const T* data, std::int64_t n) {
  py::array array = view_of(owner, data, {n});
  array.attr("setflags")(false);
  return array;
}

}  // namespace octavo
