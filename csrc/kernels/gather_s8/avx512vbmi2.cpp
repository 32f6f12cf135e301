// SPDX-License-Identifier: Apache-2.0
// gather_s8 with vpermb: one shuffle reaches all 64 codes of a window, so a step costs a row one
// vpermb and one vpdpbusd. A window of 16 is looked at through the same shuffle.
//
// Cycles of a wide step with 1, 4, 8 rows by llvm-mca: icelake-server 3, 5, 8; znver4 2.4, 8, 16.
#include "kernels/gather_s8/zmm.h"

namespace octavo {
namespace {

struct NarrowStep {
  static constexpr int64_t kBytes = step_bytes(SlotIndex::kNarrow);
  __m512i index;

  explicit NarrowStep(const uint8_t* p) : index(narrow_index(p)) {}

  // The last window ends with the padded row: no more than 16 bytes may be read.
  __m512i pick(const uint8_t* window) const {
    const __m128i codes = _mm_loadu_si128((const __m128i*)window);
    return _mm512_permutexvar_epi8(index, _mm512_castsi128_si512(codes));
  }
};

struct WideStep {
  static constexpr int64_t kBytes = step_bytes(SlotIndex::kWide);
  __m512i index;

  explicit WideStep(const uint8_t* p) { index = _mm512_loadu_si512(p); }

  __m512i pick(const uint8_t* window) const {
    return _mm512_permutexvar_epi8(index, _mm512_loadu_si512(window));
  }
};

template <class Step>
static inline __m512i add_step(__m512i sum, const WindowedPanels& b, uint32_t t, const uint8_t* a) {
  const uint8_t* step = b.step + t * Step::kBytes;
  _mm_prefetch((const char*)(step + kAhead), _MM_HINT_T0);
  _mm_prefetch((const char*)(step + kAhead + 64), _MM_HINT_T0);
  const __m512i codes = Step(step + 64).pick(a + b.window[t]);
  __m512i values = _mm512_loadu_si512(step);
  OCTAVO_FORGET_VECTOR(values);
  return _mm512_dpbusd_epi32(sum, codes, values);
}

// A sum waits 5 cycles for the one before: one row has two, of every other step. GCC would copy
// both in each turn.
template <class Step>
static inline void panel_of_one(const GatherS8Args& args, int p, int m) {
  const uint8_t* a = args.a + m * args.a_stride;
  __m512i even = _mm512_setzero_si512(), odd = even;
  uint32_t t = args.b.first_step[p];
  const uint32_t end = args.b.first_step[p + 1];
  for (; t + 2 <= end; t += 2) {
    even = add_step<Step>(even, args.b, t, a);
    odd = add_step<Step>(odd, args.b, t + 1, a);
    OCTAVO_FORGET_VECTOR(even);
    OCTAVO_FORGET_VECTOR(odd);
  }
  if (t < end) even = add_step<Step>(even, args.b, t, a);
  _mm512_storeu_si512(args.c + m * args.c_stride + 16 * p, _mm512_add_epi32(even, odd));
}

template <class Step>
static inline void all_panels(const GatherS8Args& args) {
  for (int p = 0; p < args.b.panels; ++p) {
    int m = 0;
    for (; m + 8 <= args.m; m += 8) panel<Step, 8>(args, p, m);
    switch (args.m - m) {
      case 7: panel<Step, 7>(args, p, m); break;
      case 6: panel<Step, 6>(args, p, m); break;
      case 5: panel<Step, 5>(args, p, m); break;
      case 4: panel<Step, 4>(args, p, m); break;
      case 3: panel<Step, 3>(args, p, m); break;
      case 2: panel<Step, 2>(args, p, m); break;
      case 1: panel_of_one<Step>(args, p, m); break;
      default: break;
    }
  }
}

}  // namespace

void gather_u8s8s32_8x16x4_avx512vbmi2(const GatherS8Args& args) noexcept {
  if (args.b.kind == SlotIndex::kNarrow) {
    all_panels<NarrowStep>(args);
  } else {
    all_panels<WideStep>(args);
  }
}

}  // namespace octavo
