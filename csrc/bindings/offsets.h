// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "bindings/views.h"

namespace octavo {

// Where sequences in `rows` rows begin, and where the last ends; a copy, since it is checked.
inline std::vector<std::int64_t> row_offsets(const Array& offsets, Py_ssize_t rows) {
  const auto* data = contiguous<std::int64_t>(offsets, 1, "offsets");
  std::vector<std::int64_t> copy = copied(data, offsets.shape(0));
  if (copy.empty() || copy.front() != 0 || copy.back() != rows ||
      !std::is_sorted(copy.begin(), copy.end())) {
    bad_argument("offsets", "ascending values from 0 to the number of rows");
  }
  return copy;
}

// The rows of the longest sequence.
inline std::int64_t longest_of(const std::vector<std::int64_t>& offsets) {
  std::int64_t longest = 0;
  for (std::size_t s = 1; s < offsets.size(); ++s) {
    longest = std::max(longest, offsets[s] - offsets[s - 1]);
  }
  return longest;
}

}  // namespace octavo
