// SPDX-License-Identifier: Apache-2.0
// gemm_groups in portable C++, written so that a compiler can vectorize the sixteen columns.
#include "kernels/common/lanes16_scalar.h"

#include "kernels/common/group_numbers16.h"
#include "kernels/gemm_groups/parts.h"

namespace octavo {
namespace {

// Four inputs of a panel times codes of a row.
void add_four(const int8_t* a, const uint8_t* b, int32_t* sum) {
  for (int n = 0; n < 16; ++n) {
    for (int i = 0; i < 4; ++i) sum[n] += a[i] * b[4 * n + i];
  }
}

void unpack(const uint8_t* b, const uint8_t* high, int inputs, uint8_t* out) {
  for (int k = 0; k < inputs; k += 8) {
    for (int i = 0; i < 64; ++i) {
      out[i] = b[i] & 15;
      out[64 + i] = b[i] >> 4;
    }
    if (high) {
      for (int i = 0; i < 128; ++i) out[i] |= (high[i % 16] >> i / 16 & 1) << 4;
      high += 16;
    }
    b += 64;
    out += 128;
  }
}

void panel_row(const GemmGroupsArgs& args, Part part, int p, int m) {
  const int8_t* a = (const int8_t*)args.a + m * args.a_stride;
  const NumbersOfPanel b_scale(args.b_scale, p);
  int64_t g = part.begin / args.group;
  const float* a_scale = args.a_scale + g * args.a_scale_stride + m;
  const int32_t* a_base = args.a_base + g * args.a_scale_stride + m;
  float* c = args.c + m * args.c_stride + 16 * p;
  for (int first = part.begin; first < part.end; first += args.group) {
    const int end = part.end - first < args.group ? part.end : first + args.group;
    int32_t sum[16];
    for (int n = 0; n < 16; ++n) sum[n] = *a_base;
    for (int k = first; k < end; k += 8) {
      add_four(a + k, part.b, sum);
      add_four(a + k + 4, part.b + 64, sum);
      part.b += 128;
    }
    const bool fresh = first == 0 && !args.accumulate;
    const F16 both = mul(b_scale[g++], set1(*a_scale));
    store(c, fma(to_float(load_i(sum)), both, fresh ? set1(0.0f) : load(c)));
    a_scale += args.a_scale_stride;
    a_base += args.a_scale_stride;
  }
}

void all_rows(const GemmGroupsArgs& args, const Part& part, int p) {
  for (int m = 0; m < args.m; ++m) panel_row(args, part, p, m);
}

}  // namespace

void gemm_groups_s8f32_1x16x8_scalar(const GemmGroupsArgs& args) noexcept {
  for (int p = 0; p < args.panels; ++p) {
    if (args.bits == 8) {
      all_rows(args, whole_part(args, p), p);
    } else {
      each_unpacked_part<1>(args, p, unpack, [&](const Part& part) { all_rows(args, part, p); });
    }
  }
}

}  // namespace octavo
