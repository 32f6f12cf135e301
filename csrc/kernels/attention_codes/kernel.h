// SPDX-License-Identifier: Apache-2.0
// Kernel family attention_codes: rows of one head (q, k or v of tokens) to symmetric codes, in the
// layouts that attention_block reads.
//
//   largest = max|x|; unit = max(largest / 127, FLT_MIN); code = rint(x * (1 / unit))
//   scale = unit, 0 for a row of zeros, NaN (and codes 0) for a row with a NaN or an infinity
//
// A group is 32 bits: `group_codes` codes, 4 of 8 bits or 2 of 16, the first lowest. Sixteen groups
// lie side by side, in panels:
//   queries, keys   panels of 16 rows: group g of the row's values at 16 * g + row
//   values          panels of 16 columns: group g of rows at 16 * g + column
// Rows are filled up to sixteen, columns too, with codes and scales of 0. Codes of 8 bits of
// queries are larger by 128, unsigned; `start` of a key makes up for it: -128 times the sum of its
// codes.
// Where a tier's kernels.inc says that keys are rows, the codes of a key lie side by side, up to
// the next key's in the panel at d rounded up to 16; queries are as they are, and there are no
// starts.
#pragma once
#include <stdint.h>

#include "kernels/common/columns.h"

namespace octavo {

enum class AttentionOperand : uint8_t { kQueries, kKeys, kValues };

struct AttentionCodesArgs {
  const float* x;
  int64_t x_stride;         // elements
  const int64_t* row_list;  // where rows begin, in elements; or null: x_stride apart
  int32_t m;
  int32_t d;
  AttentionOperand operand;
  int32_t* groups;
  int64_t panel_stride;  // groups
  float* scale;
  int32_t* start;  // of keys in codes of 8 bits
};

template <>
struct KernelColumns<AttentionCodesArgs> : PlainColumns {
  int group_codes;
  bool key_rows = false;
};

}  // namespace octavo
