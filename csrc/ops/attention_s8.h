// SPDX-License-Identifier: Apache-2.0
// Attention over 8-bit codes. Each row of q, k and v (a token and head) becomes symmetric codes
// with a scale of its own; scores and sums are exact int32. Keys come in blocks of 512: the weights
// of a block are codes relative to its largest, so a block's sums are below 2^24, and blocks are
// put together in float32. docs/numerics.md has the definition, python/octavo/_numpy/attention.py
// the reference.
#pragma once
#include <cstdint>

#include "ops/attention.h"

namespace octavo {

// Values of a head at most: a score is below 2^24, exact as float32.
constexpr std::int64_t kLargestHead = 1040;

struct GroupedShape {
  AttentionShape heads;   // of q, and of out
  std::int64_t kv_heads;  // of k and v, a divisor; neighbouring heads of q share one
};

// What may be left out of attention_s8.
struct AttentionExtras {
  const std::uint8_t* mask = nullptr;
  // The keys that each query sees, first <= j < last among those of its batch entry; null: all. A
  // pair per query of a batch entry, the same for all of them, or per row of packed sequences.
  const std::int64_t* key_ranges = nullptr;
  ScoreBias bias = {nullptr, 0, 0};
};

// As attention(), in int8; scale is at least 0.
void attention_s8(const GroupedShape& shape, TokenRows q, TokenRows k, TokenRows v,
                  const AttentionExtras& extras, float scale, float* out);

}  // namespace octavo
