// SPDX-License-Identifier: Apache-2.0
// attention_weights over sixteen lanes; a tier's file includes its lanes first. Four rows go
// through each pass together: they share what belongs to the keys, and one row's reduction does not
// wait for another's.
#pragma once
#include <math.h>

#include "kernels/attention_weights/kernel.h"
#include "kernels/common/compiler.h"
#include "kernels/common/math16.h"
#include "kernels/common/put_codes16.h"

namespace octavo {
namespace {

constexpr int kRowsAtOnce = 4;

// Which of sixteen keys are visible: all, or lanes [first, last).
struct AllLanes {
  F16 operator()(F16 a, F16) const { return a; }
};
struct SomeLanes {
  int first, last;
  F16 operator()(F16 a, F16 other) const {
    return select(first_n(first), other, select(first_n(last), a, other));
  }
};

// step(j, lanes) for the vectors that hold visible keys.
template <class Step>
static inline void for_visible(int first, int last, const Step& step) {
  int j = first / 16 * 16;
  if (j < first) {
    step(j, SomeLanes{first - j, last - j < 16 ? last - j : 16});
    j += 16;
  }
  for (; j + 16 <= last; j += 16) step(j, AllLanes{});
  if (j < last) step(j, SomeLanes{0, last - j});
}

// What belongs to rows, in variables of its own: vector stores might change what args points to.
template <int Rows>
struct WeightRows {
  float* z[Rows];  // in the place of the scores
  const float* bias[Rows];
  float factor[Rows], top[Rows], sum[Rows], largest[Rows];

  WeightRows(const AttentionWeightsArgs& args, int m) {
    OCTAVO_UNROLL
    for (int r = 0; r < Rows; ++r) {
      z[r] = (float*)(args.scores + (m + r) * args.scores_stride);
      bias[r] = args.bias ? args.bias + (m + r) * args.bias_stride : nullptr;
      factor[r] = args.factor[m + r];
    }
  }
};

// z over the scores, and the largest.
template <bool Biased, int Rows>
static inline void scale_scores(const AttentionWeightsArgs& args, int m, WeightRows<Rows>& rows) {
  const float* key_scale = args.key_scale;
  const int32_t* key_shift = args.key_shift;
  F16 most[Rows];
  OCTAVO_UNROLL
  for (int r = 0; r < Rows; ++r) most[r] = set1(-INFINITY);
  for_visible(args.first[m], args.last[m], [&](int j, auto visible) {
    const F16 scale = load(key_scale + j);
    const I16 shift = key_shift ? load_i(key_shift + j) : set1_i(0);
    OCTAVO_UNROLL
    for (int r = 0; r < Rows; ++r) {
      const I16 score = load_i((const int32_t*)rows.z[r] + j);
      F16 z = mul(to_float(sub_i(score, shift)), scale);
      if (Biased) z = fma(z, set1(rows.factor[r]), mul(load(rows.bias[r] + j), set1(kLog2E)));
      most[r] = max(visible(z, set1(-INFINITY)), most[r]);
      store(rows.z[r] + j, z);
    }
  });
  OCTAVO_UNROLL
  for (int r = 0; r < Rows; ++r) rows.top[r] = reduce_max(most[r]);
}

// p over z; sums of e and the largest p.
template <bool Biased, int Rows>
static inline void exponentials(const AttentionWeightsArgs& args, int m, WeightRows<Rows>& rows) {
  const float* value_scale = args.value_scale;
  F16 total[Rows], most[Rows], top[Rows], factor[Rows];
  OCTAVO_UNROLL
  for (int r = 0; r < Rows; ++r) {
    total[r] = most[r] = set1(0.0f);
    top[r] = set1(rows.top[r]);
    factor[r] = set1(Biased ? 1.0f : rows.factor[r]);
  }
  for_visible(args.first[m], args.last[m], [&](int j, auto visible) {
    const F16 scale = load(value_scale + j);
    OCTAVO_UNROLL
    for (int r = 0; r < Rows; ++r) {
      const F16 z = load(rows.z[r] + j);
      const F16 e = visible(exp2_scaled16(sub(z, top[r]), factor[r]), set1(0.0f));
      const F16 p = mul(e, scale);
      total[r] = add(total[r], e);
      most[r] = max(p, most[r]);
      store(rows.z[r] + j, p);
    }
  });
  OCTAVO_UNROLL
  for (int r = 0; r < Rows; ++r) {
    rows.sum[r] = reduce_add(total[r]);
    rows.largest[r] = reduce_max(most[r]);
  }
}

// The weights of sixteen keys in a form that is known when this is compiled.
template <ActivationEncoding Form>
static inline void put_weights(const AttentionWeightsArgs& args, uint8_t* out, I16 weight) {
  put_codes<true>(out, args.abs_offset, Form, add_i(weight, set1_i(-128)), 16);
}

template <ActivationEncoding Form>
static inline void write_codes(const AttentionWeightsArgs& args, int m, float largest) {
  uint8_t* out = args.codes + m * args.codes_stride;
  const float* p = (const float*)(args.scores + m * args.scores_stride);
  const bool any = largest > 0.0f;
  const int first = any ? args.first[m] : 0, last = any ? args.last[m] : 0;
  const F16 factor = set1(any ? 255.0f / largest : 0.0f);
  int j = 0;
  for (; j < first / 16 * 16; j += 16) put_weights<Form>(args, out + j, set1_i(0));
  for_visible(first, last, [&](int at, auto visible) {
    put_weights<Form>(args, out + at, to_int(visible(mul(load(p + at), factor), set1(0.0f))));
    j = at + 16;
  });
  for (; j < args.n; j += 16) put_weights<Form>(args, out + j, set1_i(0));
  for (; j < args.width; j += 16) {
    store_u8(out + j, set1_i(0));
    if (Form == ActivationEncoding::kSignAbs) store_u8(out + args.abs_offset + j, set1_i(0));
  }
}

template <ActivationEncoding Form, bool Biased, int Rows>
static inline void weigh_rows(const AttentionWeightsArgs& args, int m) {
  WeightRows<Rows> rows(args, m);
  scale_scores<Biased, Rows>(args, m, rows);
  exponentials<Biased, Rows>(args, m, rows);
  for (int r = 0; r < Rows; ++r) {
    float largest = rows.largest[r];
    if (!(rows.sum[r] >= 0.0f && largest >= kSmallestWeight)) largest = 0.0f;
    args.top[m + r] = rows.top[r];
    args.sum[m + r] = rows.sum[r];
    args.largest[m + r] = largest;
    write_codes<Form>(args, m + r, largest);
  }
}

static inline bool same_visible(const AttentionWeightsArgs& args, int m) {
  for (int r = 1; r < kRowsAtOnce; ++r) {
    if (args.first[m + r] != args.first[m] || args.last[m + r] != args.last[m]) return false;
  }
  return true;
}

template <ActivationEncoding Form, bool Biased>
static inline void weigh_all(const AttentionWeightsArgs& args) {
  int m = 0;
  while (m < args.m) {
    if (m + kRowsAtOnce <= args.m && same_visible(args, m)) {
      weigh_rows<Form, Biased, kRowsAtOnce>(args, m);
      m += kRowsAtOnce;
    } else {
      weigh_rows<Form, Biased, 1>(args, m++);
    }
  }
}

template <ActivationEncoding Form>
static inline void weigh(const AttentionWeightsArgs& args) {
  if (args.bias != nullptr) {
    weigh_all<Form, true>(args);
  } else {
    weigh_all<Form, false>(args);
  }
}

}  // namespace

void OCTAVO_LANES16(attention_weights_s32u8)(const AttentionWeightsArgs& args) noexcept {
  switch (args.form) {
    case ActivationEncoding::kS8: return weigh<ActivationEncoding::kS8>(args);
    case ActivationEncoding::kSignAbs: return weigh<ActivationEncoding::kSignAbs>(args);
    case ActivationEncoding::kU8: return weigh<ActivationEncoding::kU8>(args);
  }
}

}  // namespace octavo
