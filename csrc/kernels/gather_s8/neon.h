// SPDX-License-Identifier: Apache-2.0
// gather_s8 with NEON registers; a tier's file includes its dot4_*.h first. tbl picks 16 codes out
// of one register, or of the four of a wide window.
#pragma once
#include "kernels/common/codes_neon.h"
#include "kernels/gather_s8/kernel.h"

namespace octavo {
namespace {

constexpr int kRows = 4 / kSumRegisters;

struct NarrowStep {
  static constexpr int64_t kBytes = step_bytes(SlotIndex::kNarrow);
  uint8x16_t index[4];

  explicit NarrowStep(const uint8_t* p) {
    const uint8x16_t first = vld1q_u8(p), second = vld1q_u8(p + 16), half = vdupq_n_u8(15);
    index[0] = vandq_u8(first, half);
    index[1] = vandq_u8(second, half);
    index[2] = vshrq_n_u8(first, 4);
    index[3] = vshrq_n_u8(second, 4);
  }

  void pick(const uint8_t* window, int8x16_t* picked) const {
    const int8x16_t codes = load16(window);
    OCTAVO_UNROLL
    for (int j = 0; j < 4; ++j) picked[j] = vqtbl1q_s8(codes, index[j]);
  }
};

struct WideStep {
  static constexpr int64_t kBytes = step_bytes(SlotIndex::kWide);
  uint8x16_t index[4];

  explicit WideStep(const uint8_t* p) {
    OCTAVO_UNROLL
    for (int j = 0; j < 4; ++j) index[j] = vld1q_u8(p + 16 * j);
  }

  void pick(const uint8_t* window, int8x16_t* picked) const {
    const int8x16x4_t codes = vld1q_s8_x4((const int8_t*)window);
    OCTAVO_UNROLL
    for (int j = 0; j < 4; ++j) picked[j] = vqtbl4q_s8(codes, index[j]);
  }
};

template <class Step, int Rows>
static inline void panel(const GatherS8Args& args, int p, int m0) {
  const uint8_t* a = args.a + m0 * args.a_stride;
  Sum4 sum[Rows][4];
  OCTAVO_UNROLL
  for (int i = 0; i < 4 * Rows; ++i) sum[i / 4][i % 4] = no_sum();
  const uint32_t end = args.b.first_step[p + 1];
  for (uint32_t t = args.b.first_step[p]; t < end; ++t) {
    const uint8_t* step = args.b.step + t * Step::kBytes;
    const Step indices(step + 64);
    const uint8_t* window = a + args.b.window[t];
    OCTAVO_UNROLL
    for (int i = 0; i < Rows; ++i) {
      int8x16_t picked[4];
      indices.pick(window + i * args.a_stride, picked);
      OCTAVO_UNROLL
      for (int j = 0; j < 4; ++j) sum[i][j] = dot4(sum[i][j], picked[j], load16(step + 16 * j));
    }
  }
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    int32_t* c = args.c + (m0 + i) * args.c_stride + 16 * p;
    OCTAVO_UNROLL
    for (int j = 0; j < 4; ++j) vst1q_s32(c + 4 * j, total(sum[i][j]));
  }
}

template <class Step>
static inline void all_panels(const GatherS8Args& args) {
  for (int p = 0; p < args.b.panels; ++p) {
    int m = 0;
    for (; m + kRows <= args.m; m += kRows) panel<Step, kRows>(args, p, m);
    for (; m < args.m; ++m) panel<Step, 1>(args, p, m);
  }
}

static inline void gather(const GatherS8Args& args) {
  if (args.b.kind == SlotIndex::kNarrow) {
    all_panels<NarrowStep>(args);
  } else {
    all_panels<WideStep>(args);
  }
}

}  // namespace
}  // namespace octavo
