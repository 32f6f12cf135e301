// SPDX-License-Identifier: Apache-2.0
// gather_s8 for AVX-512 VNNI: shuffles under a mask pick out of the four parts of a wide window one
// after another.
#include "kernels/gather_s8/zmm.h"

namespace octavo {
namespace {

static inline __m512i sixteen(const uint8_t* p) {
  return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)p));
}

struct NarrowStep {
  static constexpr int64_t kBytes = step_bytes(SlotIndex::kNarrow);
  __m512i index;

  explicit NarrowStep(const uint8_t* p) : index(narrow_index(p)) {}

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
