// SPDX-License-Identifier: Apache-2.0
// Kernel family lookup_s8: any function of one int8 code.
//
//   out[i] = table[x[i] + 128]
//
// out may be x. Arrays may end exactly at n.
#pragma once
#include <stdint.h>

namespace octavo {

struct LookupS8Args {
  const int8_t* x;
  const int8_t* table;  // 256
  int8_t* out;
  int64_t n;
};

}  // namespace octavo
