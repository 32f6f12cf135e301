// SPDX-License-Identifier: Apache-2.0
// stream_read with ymm registers.
#pragma once
#include "kernels/common/compiler.h"
#include "kernels/common/x86.h"
#include "kernels/stream_read/kernel.h"

namespace octavo {
namespace {

static inline void read(const StreamReadArgs& args) {
  __m256i sum[8];
  OCTAVO_UNROLL
  for (int j = 0; j < 8; ++j) sum[j] = _mm256_setzero_si256();
  for (int64_t i = 0; i < args.bytes; i += 256) {
    OCTAVO_UNROLL
    for (int j = 0; j < 8; ++j) {
      const __m256i* p = (const __m256i*)(args.data + i + 32 * j);
      sum[j] = _mm256_xor_si256(sum[j], _mm256_loadu_si256(p));
    }
  }
  OCTAVO_UNROLL
  for (int j = 1; j < 8; ++j) sum[0] = _mm256_xor_si256(sum[0], sum[j]);
  *args.sink = (uint64_t)_mm256_extract_epi32(sum[0], 0);
}

}  // namespace
}  // namespace octavo
