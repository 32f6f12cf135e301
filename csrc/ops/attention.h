// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

namespace octavo {

// (batch, rows, heads * d) float32 with unit stride along the last axis.
struct TokenRows {
  const float* data;
  std::int64_t batch_stride;  // elements
  std::int64_t row_stride;
};

struct AttentionShape {
  std::int64_t batch;
  std::int64_t queries;
  std::int64_t keys;
  std::int64_t heads;
  std::int64_t d;
};

// out (batch, queries, heads * d), contiguous = softmax(q k^T * scale) v per head. mask (batch,
// keys), or null, is not 0 where a key takes part; without any the result is 0.
void attention(const AttentionShape& shape, TokenRows q, TokenRows k, TokenRows v,
               const std::uint8_t* mask, float scale, float* out);

}  // namespace octavo
