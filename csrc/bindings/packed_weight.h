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
const std::int8_t* checked_codes(const Array& codes, const WeightFormat& format);

// The codes, (n, k).
Array unpacked(const Weight& weight);

// The bytes of an array that nobody may write to any more, kept alive with what is made of them.
AlignedBuffer bytes_of(const Array& packed);

// A view into the layer, which stays alive with it.
template <class T>
Array view_of(nb::handle owner, const T* data, const Shape& shape) {
  return array_over(data, shape, Dtype(kElement<T>), owner);
}

template <class T>
Array read_only(nb::handle owner, const T* data, std::int64_t n) {
  Array array = view_of(owner, data, {n});
  array.make_read_only();
  return array;
}

}  // namespace octavo
