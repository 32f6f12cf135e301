// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "weights/weight.h"

namespace octavo {

// What a format makes of some codes, for choosing one. A unit is the work of 64 products in the
// format's own kernel.
struct FormatCost {
  std::int64_t units;
  std::int64_t nbytes;  // without the column sums, which every format has
};

struct WeightFormat {
  const char* name;
  std::int64_t most_inputs;
  // codes: (n, k) row-major; k at most most_inputs.
  std::unique_ptr<Weight> (*pack)(const std::int8_t* codes, std::int64_t n, std::int64_t k);
  // Bytes that pack() made, perhaps elsewhere; throws std::invalid_argument where they are not.
  std::unique_ptr<Weight> (*attach)(AlignedBuffer packed, std::int64_t n, std::int64_t k);
  FormatCost (*cost)(const std::int8_t* codes, std::int64_t n, std::int64_t k, IsaMask mask);
};

// Dense first.
const std::vector<WeightFormat>& weight_formats();

// Null where there is none of that name.
const WeightFormat* find_weight_format(const std::string& name);

}  // namespace octavo
