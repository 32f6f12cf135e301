// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include "weights/weight.h"

namespace octavo {

// Rows [begin, end) of a block to its tile, which has `rows` rows: the codes of all rows at one k
// lie side by side (transpose_s8). For Weight::prepare().
inline void fill_byte_tile(IsaMask mask, const CodeBlock& block, std::int64_t rows,
                           std::int64_t begin, std::int64_t end, std::int64_t k) {
  if (begin == end || k == 0) return;
  TransposeS8Args args;
  args.a = block.codes + begin * block.stride;
  args.a_stride = block.stride;
  args.tile = block.tile;
  args.rows = rows;
  args.column = static_cast<std::int32_t>(begin);
  args.m = static_cast<std::int32_t>(end - begin);
  args.k = static_cast<std::int32_t>(padded_k(k));
  select<TransposeS8Args>(mask).run(args);
}

}  // namespace octavo
