// SPDX-License-Identifier: Apache-2.0
// broadcast_windowed_s8 with NEON registers; a tier's file includes its dot4_*.h first. Four slots
// of one column are a group as dot4 wants it once the four tile rows are interleaved.
#pragma once
#include "kernels/broadcast_windowed_s8/kernel.h"
#include "kernels/common/codes_neon.h"
#include "kernels/gather_s8/slots.h"

namespace octavo {
namespace {

constexpr int kVectors = 8;  // of four rows

// The 32 sums of one column.
template <SlotIndex Kind>
static inline void column(const BroadcastWindowedS8Args& args, int p, int n, int32x4_t* out) {
  Sum4 sum[kVectors];
  OCTAVO_UNROLL
  for (int v = 0; v < kVectors; ++v) sum[v] = no_sum();
  const uint32_t end = args.b.first_step[p + 1];
  for (uint32_t t = args.b.first_step[p]; t < end; ++t) {
    const uint8_t* window = args.tile + 32 * (int64_t)args.b.window[t];
    const uint8_t* step = args.b.step + t * step_bytes(Kind);
    const uint32_t index = column_index(step, Kind, n);
    const int8x16_t b = broadcast4(step + 4 * n);
    OCTAVO_UNROLL
    for (int half = 0; half < 2; ++half) {
      const uint8_t* at = window + 16 * half;
      int8x16_t group[4];
      interleave<4>(at + 32 * (index & 255), at + 32 * (index >> 8 & 255),
                    at + 32 * (index >> 16 & 255), at + 32 * (index >> 24), group);
      OCTAVO_UNROLL
      for (int v = 0; v < 4; ++v) sum[4 * half + v] = dot4(sum[4 * half + v], group[v], b);
    }
  }
  OCTAVO_UNROLL
  for (int v = 0; v < kVectors; ++v) out[v] = total(sum[v]);
}

template <SlotIndex Kind>
static inline void all_panels(const BroadcastWindowedS8Args& args) {
  for (int p = 0; p < args.b.panels; ++p) {
    for (int n = 0; n < 16; n += 4) {
      int32x4_t sum[4][kVectors];
      for (int i = 0; i < 4; ++i) column<Kind>(args, p, n + i, sum[i]);
      for (int m = 0; m < args.m; m += 4) {
        store_rows(&sum[0][m / 4], kVectors, args.m - m, args.c + m * args.c_stride + 16 * p + n,
                   args.c_stride);
      }
    }
  }
}

static inline void broadcast(const BroadcastWindowedS8Args& args) {
  if (args.b.kind == SlotIndex::kNarrow) {
    all_panels<SlotIndex::kNarrow>(args);
  } else {
    all_panels<SlotIndex::kWide>(args);
  }
}

}  // namespace
}  // namespace octavo
