// SPDX-License-Identifier: Apache-2.0
// gemm_s8 for AMX (tdpbusd): tiles of 16 rows x 64 codes times 64 x 16 weights.
// Tiles 0-3 hold a 32x32 block of c, 4-5 two row tiles of a, 6-7 two panels of b: four products
// for four tile loads a step, so the loads (8 cycles each) hide behind the products (16 each).
// Rows come in sixteens (m_align); a last single row tile uses half the block.
#include "kernels/common/amx_config.h"
#include "kernels/common/x86.h"
#include "kernels/gemm_s8/kernel.h"

namespace octavo {
namespace {

// Tile numbers must be literals, hence one function per shape of block.
static inline void block_2x2(const GemmS8Args& args, int m0, int p) {
  const uint8_t* a0 = args.a + m0 * args.a_stride;
  const uint8_t* a1 = a0 + 16 * args.a_stride;
  const int8_t* b0 = args.b + p * args.b_panel_stride;
  const int8_t* b1 = b0 + args.b_panel_stride;
  int32_t* c = args.c + m0 * args.c_stride + 16 * p;
  int32_t* c_low = c + 16 * args.c_stride;
  const int64_t c_bytes = args.c_stride * 4;
  if (args.accumulate) {
    _tile_loadd(0, c, c_bytes);
    _tile_loadd(1, c + 16, c_bytes);
    _tile_loadd(2, c_low, c_bytes);
    _tile_loadd(3, c_low + 16, c_bytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int g = 0; g < args.k_groups; g += 16) {
    _tile_loadd(6, b0 + 64 * (int64_t)g, 64);
    _tile_loadd(4, a0 + 4 * (int64_t)g, args.a_stride);
    _tile_loadd(7, b1 + 64 * (int64_t)g, 64);
    _tile_loadd(5, a1 + 4 * (int64_t)g, args.a_stride);
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 7);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
  }
  _tile_stored(0, c, c_bytes);
  _tile_stored(1, c + 16, c_bytes);
  _tile_stored(2, c_low, c_bytes);
  _tile_stored(3, c_low + 16, c_bytes);
}

static inline void block_2x1(const GemmS8Args& args, int m0, int p) {
  const uint8_t* a0 = args.a + m0 * args.a_stride;
  const uint8_t* a1 = a0 + 16 * args.a_stride;
  const int8_t* b = args.b + p * args.b_panel_stride;
  int32_t* c = args.c + m0 * args.c_stride + 16 * p;
  int32_t* c_low = c + 16 * args.c_stride;
  const int64_t c_bytes = args.c_stride * 4;
  if (args.accumulate) {
    _tile_loadd(0, c, c_bytes);
    _tile_loadd(2, c_low, c_bytes);
  } else {
    _tile_zero(0);
    _tile_zero(2);
  }
  for (int g = 0; g < args.k_groups; g += 16) {
    _tile_loadd(6, b + 64 * (int64_t)g, 64);
    _tile_loadd(4, a0 + 4 * (int64_t)g, args.a_stride);
    _tile_loadd(5, a1 + 4 * (int64_t)g, args.a_stride);
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(2, 5, 6);
  }
  _tile_stored(0, c, c_bytes);
  _tile_stored(2, c_low, c_bytes);
}

static inline void block_1x2(const GemmS8Args& args, int m0, int p) {
  const uint8_t* a = args.a + m0 * args.a_stride;
  const int8_t* b0 = args.b + p * args.b_panel_stride;
  const int8_t* b1 = b0 + args.b_panel_stride;
  int32_t* c = args.c + m0 * args.c_stride + 16 * p;
  const int64_t c_bytes = args.c_stride * 4;
  if (args.accumulate) {
    _tile_loadd(0, c, c_bytes);
    _tile_loadd(1, c + 16, c_bytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
  }
  for (int g = 0; g < args.k_groups; g += 16) {
    _tile_loadd(4, a + 4 * (int64_t)g, args.a_stride);
    _tile_loadd(6, b0 + 64 * (int64_t)g, 64);
    _tile_loadd(7, b1 + 64 * (int64_t)g, 64);
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 7);
  }
  _tile_stored(0, c, c_bytes);
  _tile_stored(1, c + 16, c_bytes);
}

static inline void block_1x1(const GemmS8Args& args, int m0, int p) {
  const uint8_t* a = args.a + m0 * args.a_stride;
  const int8_t* b = args.b + p * args.b_panel_stride;
  int32_t* c = args.c + m0 * args.c_stride + 16 * p;
  if (args.accumulate) {
    _tile_loadd(0, c, args.c_stride * 4);
  } else {
    _tile_zero(0);
  }
  for (int g = 0; g < args.k_groups; g += 16) {
    _tile_loadd(4, a + 4 * (int64_t)g, args.a_stride);
    _tile_loadd(6, b + 64 * (int64_t)g, 64);
    _tile_dpbusd(0, 4, 6);
  }
  _tile_stored(0, c, args.c_stride * 4);
}

}  // namespace

void gemm_u8s8s32_32x32x64_amx_int8(const GemmS8Args& args) noexcept {
  const AmxConfig config;
  _tile_loadconfig(&config);
  int p = 0;
  for (; p + 2 <= args.panels; p += 2) {
    int m = 0;
    for (; m + 16 < args.m; m += 32) block_2x2(args, m, p);
    if (m < args.m) block_1x2(args, m, p);
  }
  if (p < args.panels) {
    int m = 0;
    for (; m + 16 < args.m; m += 32) block_2x1(args, m, p);
    if (m < args.m) block_1x1(args, m, p);
  }
  _tile_release();
}

}  // namespace octavo
