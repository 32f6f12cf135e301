// SPDX-License-Identifier: Apache-2.0
// gemm_s8 for AMX (tdpbusd): tiles of 16 rows x 64 codes times 64 x 16 weights.
// Tiles 0-3 hold a 32x32 block of c, 4-5 two row tiles of a, 6-7 two panels of b: four products
// for four tile loads a step, so the loads (8 cycles each) hide behind the products (16 each).
// Rows come in sixteens (m_align); a last single row tile uses half the block, and fewer than
// sixteen rows in all are tiles of so many rows.
//
// Measured apart from this kernel on a Xeon, the bare product of 128x768x768, 37.0 us at first: the
// operand that streams past the one in L1 by stream loads, which do not push it out, 30.4; a tile
// store waits 50 cycles for its product, so it goes among the first products of the next block,
// 28.2. Blocks walk k to and fro, so that a panel too long for L1 is met where it was left: 7 to 9%
// from K = 1536.
#include "kernels/common/amx_config.h"
#include "kernels/common/x86.h"
#include "kernels/gemm_s8/kernel.h"

namespace octavo {
namespace {

// From g to the end of k or back: steps of 16 groups.
struct Walk {
  Walk(const GemmS8Args& args, bool back)
      : steps((args.k_groups + 15) / 16), g(back ? 16 * (steps - 1) : 0), step(back ? -16 : 16) {}
  int steps;
  int64_t g;
  int step;
};

// Tile numbers must be literals, hence macros and one function per shape of block.
#define OCTAVO_STORE(tile, c) _tile_stored(tile, c, args.c_stride * 4)
#define OCTAVO_START(tile, c)                \
  if (args.accumulate) {                     \
    _tile_loadd(tile, c, args.c_stride * 4); \
  } else {                                   \
    _tile_zero(tile);                        \
  }

static inline void store_2x2(const GemmS8Args& args, int32_t* c) {
  OCTAVO_STORE(0, c);
  OCTAVO_STORE(1, c + 16);
  OCTAVO_STORE(2, c + 16 * args.c_stride);
  OCTAVO_STORE(3, c + 16 * args.c_stride + 16);
}

// Leaves its sums in tiles 0-3 and returns where they belong; `left` is where those of the block
// before do, or null.
static inline int32_t* block_2x2(const GemmS8Args& args, int m0, int p, int32_t* left) {
  const uint8_t* a0 = args.a + m0 * args.a_stride;
  const uint8_t* a1 = a0 + 16 * args.a_stride;
  const int8_t* b0 = args.b + p * args.b_panel_stride;
  const int8_t* b1 = b0 + args.b_panel_stride;
  int32_t* c = args.c + m0 * args.c_stride + 16 * p;
  int32_t* c_low = c + 16 * args.c_stride;
  Walk walk(args, m0 / 32 % 2 == 1);
  for (int i = 0; i < walk.steps; ++i, walk.g += walk.step) {
    _tile_loadd(6, b0 + 64 * walk.g, 64);
    _tile_stream_loadd(4, a0 + 4 * walk.g, args.a_stride);
    _tile_loadd(7, b1 + 64 * walk.g, 64);
    _tile_stream_loadd(5, a1 + 4 * walk.g, args.a_stride);
    if (i > 0) {
      _tile_dpbusd(0, 4, 6);
      _tile_dpbusd(1, 4, 7);
      _tile_dpbusd(2, 5, 6);
      _tile_dpbusd(3, 5, 7);
      continue;
    }
    if (left != nullptr) OCTAVO_STORE(0, left);
    OCTAVO_START(0, c);
    _tile_dpbusd(0, 4, 6);
    if (left != nullptr) OCTAVO_STORE(1, left + 16);
    OCTAVO_START(1, c + 16);
    _tile_dpbusd(1, 4, 7);
    if (left != nullptr) OCTAVO_STORE(2, left + 16 * args.c_stride);
    OCTAVO_START(2, c_low);
    _tile_dpbusd(2, 5, 6);
    if (left != nullptr) OCTAVO_STORE(3, left + 16 * args.c_stride + 16);
    OCTAVO_START(3, c_low + 16);
    _tile_dpbusd(3, 5, 7);
  }
  return c;
}

static inline void block_2x1(const GemmS8Args& args, int m0, int p) {
  const uint8_t* a0 = args.a + m0 * args.a_stride;
  const uint8_t* a1 = a0 + 16 * args.a_stride;
  const int8_t* b = args.b + p * args.b_panel_stride;
  int32_t* c = args.c + m0 * args.c_stride + 16 * p;
  int32_t* c_low = c + 16 * args.c_stride;
  OCTAVO_START(0, c);
  OCTAVO_START(2, c_low);
  Walk walk(args, m0 / 32 % 2 == 1);
  for (int i = 0; i < walk.steps; ++i, walk.g += walk.step) {
    _tile_loadd(6, b + 64 * walk.g, 64);
    _tile_stream_loadd(4, a0 + 4 * walk.g, args.a_stride);
    _tile_stream_loadd(5, a1 + 4 * walk.g, args.a_stride);
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(2, 5, 6);
  }
  OCTAVO_STORE(0, c);
  OCTAVO_STORE(2, c_low);
}

// Of a single row tile b passes once, and a stays in L1.
static inline void block_1x2(const GemmS8Args& args, int m0, int p) {
  const uint8_t* a = args.a + m0 * args.a_stride;
  const int8_t* b0 = args.b + p * args.b_panel_stride;
  const int8_t* b1 = b0 + args.b_panel_stride;
  int32_t* c = args.c + m0 * args.c_stride + 16 * p;
  OCTAVO_START(0, c);
  OCTAVO_START(1, c + 16);
  for (int64_t g = 0; g < args.k_groups; g += 16) {
    _tile_loadd(4, a + 4 * g, args.a_stride);
    _tile_stream_loadd(6, b0 + 64 * g, 64);
    _tile_stream_loadd(7, b1 + 64 * g, 64);
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 7);
  }
  OCTAVO_STORE(0, c);
  OCTAVO_STORE(1, c + 16);
}

static inline void block_1x1(const GemmS8Args& args, int m0, int p) {
  const uint8_t* a = args.a + m0 * args.a_stride;
  const int8_t* b = args.b + p * args.b_panel_stride;
  int32_t* c = args.c + m0 * args.c_stride + 16 * p;
  OCTAVO_START(0, c);
  for (int64_t g = 0; g < args.k_groups; g += 16) {
    _tile_loadd(4, a + 4 * g, args.a_stride);
    _tile_stream_loadd(6, b + 64 * g, 64);
    _tile_dpbusd(0, 4, 6);
  }
  OCTAVO_STORE(0, c);
}

}  // namespace

void gemm_u8s8s32_32x32x64_amx_int8(const GemmS8Args& args) noexcept {
  AmxConfig config;
  if (args.m < 16) config.rows[0] = config.rows[1] = config.rows[4] = (uint8_t)args.m;
  configure_tiles(config);
  int32_t* left = nullptr;
  int p = 0;
  for (; args.k_groups > 0 && p + 2 <= args.panels; p += 2) {
    int m = 0;
    for (; m + 16 < args.m; m += 32) left = block_2x2(args, m, p, left);
    if (m < args.m) {
      if (left != nullptr) store_2x2(args, left);
      left = nullptr;
      block_1x2(args, m, p);
    }
  }
  if (left != nullptr) store_2x2(args, left);
  for (; p < args.panels; ++p) {
    int m = 0;
    for (; m + 16 < args.m; m += 32) block_2x1(args, m, p);
    if (m < args.m) block_1x1(args, m, p);
  }
  _tile_release();
}

}  // namespace octavo
