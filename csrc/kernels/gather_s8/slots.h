// SPDX-License-Identifier: Apache-2.0
// One column of one step, for kernels that go column by column; and the steps of far windows.
#pragma once
#include <stdint.h>
#include <string.h>

#include "kernels/gather_s8/kernel.h"

namespace octavo {
namespace {

// The indices of column n's four slots, a byte each, slot 0 lowest.
static inline uint32_t column_index(const uint8_t* step, SlotIndex kind, int n) {
  uint32_t four;
  if (kind != SlotIndex::kNarrow) {
    memcpy(&four, step + 64 + 4 * n, 4);
    return four;
  }
  memcpy(&four, step + 64 + 4 * (n % 8), 4);
  return (n < 8 ? four : four >> 4) & 0x0f0f0f0fu;
}

// Far steps, slot by slot, from codes of the type that the form has.
template <class Code>
static inline void gather_far(const GatherS8Args& args) {
  for (int p = 0; p < args.b.panels; ++p) {
    for (int m = 0; m < args.m; ++m) {
      const Code* a = (const Code*)args.a + m * args.a_stride;
      int32_t* c = args.c + m * args.c_stride + 16 * p;
      uint32_t sum[16] = {};
      for (uint32_t t = args.b.first_step[p]; t < args.b.first_step[p + 1]; ++t) {
        const uint8_t* step = args.b.step + t * step_bytes(SlotIndex::kFar);
        const Code* window = a + args.b.window[t];
        for (int n = 0; n < 16; ++n) {
          const int8_t* value = (const int8_t*)step + 4 * n;
          const uint8_t* index = step + 64 + 4 * n;
          sum[n] += (uint32_t)(window[index[0]] * value[0] + window[index[1]] * value[1] +
                               window[index[2]] * value[2] + window[index[3]] * value[3]);
        }
      }
      for (int n = 0; n < 16; ++n) c[n] = (int32_t)sum[n];
    }
  }
}

}  // namespace
}  // namespace octavo
