// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include "memory/sizes.h"

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
  // Packed sequences, one behind the other in a single batch entry of all arrays: sequence b has
  // rows [offsets[b], offsets[b + 1]) of q, k and v. queries and keys are the longest's then.
  const std::int64_t* offsets = nullptr;

  // Where batch entry b begins, in rows of an array that has `rows` of them for each; only of
  // arrays whose entries lie one behind the other.
  std::int64_t begin(std::int64_t b, std::int64_t rows) const {
    return offsets != nullptr ? offsets[b] : b * rows;
  }
  std::int64_t length(std::int64_t b, std::int64_t rows) const {
    return offsets != nullptr ? offsets[b + 1] - offsets[b] : rows;
  }
  // Multiply-adds of both products.
  std::int64_t work() const {
    std::int64_t scores = 0;
    for (std::int64_t b = 0; offsets != nullptr && b < batch; ++b) {
      scores += length(b, queries) * length(b, keys);
    }
    if (offsets == nullptr) scores = checked_mul(batch, queries, keys);
    return checked_mul(2, heads, scores, d);
  }
  const float* entry(TokenRows x, std::int64_t b) const {
    return x.data + (offsets != nullptr ? offsets[b] * x.row_stride : b * x.batch_stride);
  }
};

// What is added to the scaled scores of every batch entry; data may be null.
struct ScoreBias {
  const float* data;         // rows of keys with unit stride
  std::int64_t head_stride;  // elements; 0 if all heads have the same
  std::int64_t row_stride;
};

// Writes the places of the keys whose byte in the mask is not 0, all without a mask; returns how
// many there are. The list has room for `keys`.
std::int64_t list_keys(const std::uint8_t* mask, std::int64_t keys, std::int64_t* list);

// out (batch, queries, heads * d), contiguous = softmax(q k^T * scale + bias) v per head. mask
// (batch, keys), or null, is not 0 where a key takes part; without any the result is 0.
void attention(const AttentionShape& shape, TokenRows q, TokenRows k, TokenRows v,
               const std::uint8_t* mask, ScoreBias bias, float scale, float* out);

}  // namespace octavo
