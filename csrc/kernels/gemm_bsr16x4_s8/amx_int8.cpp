// SPDX-License-Identifier: Apache-2.0
// gemm_bsr16x4_s8 for AMX (tdpbusd): tiles of 16 blocks in which at least one is there. A whole
// tile is read where it lies; others are copied together with zeros, once for all rows of a call.
// Tiles 0-3 hold 64 rows of c, 4-6 take turns with those of a, 7 holds b: five tile loads (8 cycles
// each) for four products (16 each).
#include "kernels/common/amx_config.h"
#include "kernels/common/compiler.h"
#include "kernels/common/x86.h"
#include "kernels/gemm_bsr16x4_s8/kernel.h"

namespace octavo {
namespace {

constexpr int kTileGroups = BsrPanels::kTileGroups;
constexpr int kTileBytes = 64 * kTileGroups;
constexpr int kPart = 24;  // tiles at a time: 24 KiB of scratch, which stay in L1

struct Tiles {
  int8_t* copied;  // kPart tiles
  const int8_t* b[kPart];
  int64_t at[kPart];  // of a, in bytes
  int count;
};

// Blocks t to t + count of one tile.
static inline const int8_t* tile_of(const BsrPanels& b, uint32_t t, uint32_t count,
                                    int8_t* copied) {
  const int8_t* code = b.code + 64 * (int64_t)t;
  if (count == kTileGroups) return code;
  for (int i = 0; i < kTileGroups; ++i)
    _mm512_storeu_si512(copied + 64 * i, _mm512_setzero_si512());
  for (uint32_t i = 0; i < count; ++i) {
    _mm512_storeu_si512(copied + 64 * (b.index[t + i] % kTileGroups),
                        _mm512_loadu_si512(code + 64 * (int64_t)i));
  }
  return copied;
}

// The next tiles from block t on, at most kPart; returns the block behind them.
static inline uint32_t take_tiles(const BsrPanels& b, uint32_t t, uint32_t end, Tiles& tiles) {
  for (tiles.count = 0; t < end && tiles.count < kPart; ++tiles.count) {
    const int tile = b.index[t] / kTileGroups;
    uint32_t next = t + 1;
    while (next < end && b.index[next] / kTileGroups == tile) ++next;
    tiles.b[tiles.count] = tile_of(b, t, next - t, tiles.copied + kTileBytes * tiles.count);
    tiles.at[tiles.count] = 64 * (int64_t)tile;
    t = next;
  }
  return t;
}

// Tile numbers must be literals.
template <int RowTiles>
static inline void multiply(const GemmBsr16x4S8Args& args, int m0, int p, const Tiles& tiles,
                            bool accumulate) {
  const int64_t c_bytes = args.c_stride * 4, c_tile = 16 * args.c_stride;
  const int64_t stride = args.a_stride, a_tile = 16 * stride;
  int32_t* c = args.c + m0 * args.c_stride + 16 * p;
  if (accumulate) {
    _tile_loadd(0, c, c_bytes);
    if constexpr (RowTiles > 1) _tile_loadd(1, c + c_tile, c_bytes);
    if constexpr (RowTiles > 2) _tile_loadd(2, c + 2 * c_tile, c_bytes);
    if constexpr (RowTiles > 3) _tile_loadd(3, c + 3 * c_tile, c_bytes);
  } else {
    _tile_zero(0);
    if constexpr (RowTiles > 1) _tile_zero(1);
    if constexpr (RowTiles > 2) _tile_zero(2);
    if constexpr (RowTiles > 3) _tile_zero(3);
  }
  for (int i = 0; i < tiles.count; ++i) {
    const uint8_t* a = args.a + m0 * stride + tiles.at[i];
    _tile_loadd(7, tiles.b[i], 64);
    _tile_loadd(4, a, stride);
    _tile_dpbusd(0, 4, 7);
    if constexpr (RowTiles > 1) {
      _tile_loadd(5, a + a_tile, stride);
      _tile_dpbusd(1, 5, 7);
    }
    if constexpr (RowTiles > 2) {
      _tile_loadd(6, a + 2 * a_tile, stride);
      _tile_dpbusd(2, 6, 7);
    }
    if constexpr (RowTiles > 3) {
      _tile_loadd(4, a + 3 * a_tile, stride);
      _tile_dpbusd(3, 4, 7);
    }
  }
  _tile_stored(0, c, c_bytes);
  if constexpr (RowTiles > 1) _tile_stored(1, c + c_tile, c_bytes);
  if constexpr (RowTiles > 2) _tile_stored(2, c + 2 * c_tile, c_bytes);
  if constexpr (RowTiles > 3) _tile_stored(3, c + 3 * c_tile, c_bytes);
}

static inline void all_rows(const GemmBsr16x4S8Args& args, int p, const Tiles& tiles,
                            bool accumulate) {
  int m = 0;
  for (; m + 48 < args.m; m += 64) multiply<4>(args, m, p, tiles, accumulate);
  switch ((args.m - m + 15) / 16) {
    case 3: multiply<3>(args, m, p, tiles, accumulate); break;
    case 2: multiply<2>(args, m, p, tiles, accumulate); break;
    case 1: multiply<1>(args, m, p, tiles, accumulate); break;
    default: break;
  }
}

}  // namespace

void gemm_bsr16x4_u8s8s32_64x16x64_amx_int8(const GemmBsr16x4S8Args& args) noexcept {
  configure_tiles({});
  Tiles tiles;
  tiles.copied = (int8_t*)args.scratch;
  for (int p = 0; p < args.b.panels; ++p) {
    const uint32_t first = args.b.first[p], end = args.b.first[p + 1];
    uint32_t t = first;
    do {  // once even without blocks, which writes the zeros
      const bool accumulate = t > first;
      t = take_tiles(args.b, t, end, tiles);
      OCTAVO_WRITTEN(tiles.copied);
      all_rows(args, p, tiles, accumulate);
    } while (t < end);
  }
  _tile_release();
}

}  // namespace octavo
