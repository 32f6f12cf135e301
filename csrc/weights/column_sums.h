// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include "threads/interrupt.h"

namespace octavo {

// For each row of codes (n, k), modulo 2^32: their sum, and that of |code| over the negative ones.
inline void sum_columns(const std::int8_t* codes, std::int64_t n, std::int64_t k, std::int32_t* sum,
                        std::int32_t* negative_sum) {
  for (std::int64_t j = 0; j < n; ++j) {
    if (j % 16 == 0) interruption_point();
    std::uint32_t all = 0, negative = 0;
    for (std::int64_t i = 0; i < k; ++i) {
      const int code = codes[j * k + i];
      all += static_cast<std::uint32_t>(code);
      negative += static_cast<std::uint32_t>(code < 0 ? -code : 0);
    }
    sum[j] = static_cast<std::int32_t>(all);
    negative_sum[j] = static_cast<std::int32_t>(negative);
  }
}

}  // namespace octavo
