// SPDX-License-Identifier: Apache-2.0
// gather_s8 with zmm registers: a step is one vector. Shuffles under a mask pick out of the four
// parts of a wide window one after another.
#include "kernels/common/compiler.h"
#include "kernels/common/x86.h"
#include "kernels/gather_s8/kernel.h"

namespace octavo {
namespace {

// Bytes ahead, as in ymm.h.
constexpr int64_t kAhead = 4096;

static inline __m512i sixteen(const uint8_t* p) {
  return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)p));
}

struct NarrowStep {
  static constexpr int64_t kBytes = step_bytes(SlotIndex::kNarrow);
  __m512i index;

  explicit NarrowStep(const uint8_t* p) {
    const __m256i both = _mm256_loadu_si256((const __m256i*)p), half = _mm256_set1_epi8(15);
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(both, 4), half);
    index = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_and_si256(both, half)), high, 1);
  }

  __m512i pick(const uint8_t* window) const { return _mm512_shuffle_epi8(sixteen(window), index); }
};

struct WideStep {
  static constexpr int64_t kBytes = step_bytes(SlotIndex::kWide);
  __m512i index;
  __mmask64 in1, in2, in3;  // indices from 16, 32, 48 on

  explicit WideStep(const uint8_t* p) {
    index = _mm512_loadu_si512(p);
    in1 = _mm512_cmpgt_epi8_mask(index, _mm512_set1_epi8(15));
    in2 = _mm512_cmpgt_epi8_mask(index, _mm512_set1_epi8(31));
    in3 = _mm512_cmpgt_epi8_mask(index, _mm512_set1_epi8(47));
  }

  __m512i pick(const uint8_t* window) const {
    __m512i codes = _mm512_shuffle_epi8(sixteen(window), index);
    codes = _mm512_mask_shuffle_epi8(codes, in1, sixteen(window + 16), index);
    codes = _mm512_mask_shuffle_epi8(codes, in2, sixteen(window + 32), index);
    return _mm512_mask_shuffle_epi8(codes, in3, sixteen(window + 48), index);
  }
};

template <class Step, int Rows>
static inline void panel(const GatherS8Args& args, int p, int m0) {
  const uint8_t* a = args.a + m0 * args.a_stride;
  __m512i sum[Rows];
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) sum[i] = _mm512_setzero_si512();
  const uint32_t end = args.b.first_step[p + 1];
  for (uint32_t t = args.b.first_step[p]; t < end; ++t) {
    const uint8_t* step = args.b.step + t * Step::kBytes;
    _mm_prefetch((const char*)(step + kAhead), _MM_HINT_T0);
    _mm_prefetch((const char*)(step + kAhead + 64), _MM_HINT_T0);
    const Step indices(step + 64);
    const uint8_t* window = a + args.b.window[t];
    const __m512i values = _mm512_loadu_si512(step);
    OCTAVO_UNROLL
    for (int i = 0; i < Rows; ++i) {
      sum[i] = _mm512_dpbusd_epi32(sum[i], indices.pick(window + i * args.a_stride), values);
    }
  }
  OCTAVO_UNROLL
  for (int i = 0; i < Rows; ++i) {
    _mm512_storeu_si512(args.c + (m0 + i) * args.c_stride + 16 * p, sum[i]);
  }
}

template <class Step>
static inline void all_panels(const GatherS8Args& args) {
  for (int p = 0; p < args.b.panels; ++p) {
    int m = 0;
    for (; m + 4 <= args.m; m += 4) panel<Step, 4>(args, p, m);
    switch (args.m - m) {
      case 3: panel<Step, 3>(args, p, m); break;
      case 2: panel<Step, 2>(args, p, m); break;
      case 1: panel<Step, 1>(args, p, m); break;
      default: break;
    }
  }
}

}  // namespace

void gather_u8s8s32_4x16x4_avx512vnni(const GatherS8Args& args) noexcept {
  if (args.b.kind == SlotIndex::kNarrow) {
    all_panels<NarrowStep>(args);
  } else {
    all_panels<WideStep>(args);
  }
}

}  // namespace octavo
