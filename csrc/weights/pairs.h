// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cstddef>
#include <vector>

namespace octavo {

// Puts those that come in twos first: each item with its next neighbour where fit(a, b) says so.
// Order is kept, of twos and of those left over. Returns how many are paired.
template <class Item, class Fit>
std::size_t put_pairs_first(std::vector<Item>& items, std::vector<Item>& left_over, Fit fit) {
  left_over.clear();
  std::size_t paired = 0;
  for (std::size_t i = 0; i < items.size();) {
    if (i + 1 < items.size() && fit(items[i], items[i + 1])) {
      items[paired++] = items[i++];
      items[paired++] = items[i++];
    } else {
      left_over.push_back(items[i++]);
    }
  }
  std::copy(left_over.begin(), left_over.end(),
            items.begin() + static_cast<std::ptrdiff_t>(paired));
  return paired;
}

}  // namespace octavo
