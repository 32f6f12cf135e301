// SPDX-License-Identifier: Apache-2.0
// Tiers above AVX2 in software, so that their kernels run on a machine that has only AVX2. Builds
// with OCTAVO_EMULATE include this instead of <immintrin.h> (kernels/common/x86.h).
//
// SIMDe supplies what it has of AVX-512. The rest is here: conversions, masked memory access (only
// the chosen lanes are touched, so guard pages mean the same as on hardware), byte expansion,
// AVX-VNNI, and the tiles of AMX. A kernel that needs an intrinsic of neither fails to compile.
#pragma once
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

namespace octavo_emulated {
namespace {

template <class To, class From>
static inline To bits(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "bits() keeps every bit");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

// A vector as an array of its elements.
template <class Element, int Count>
struct Lanes {
  Element v[Count];
};

// One 512-bit operation as the same operation on its halves.
struct Halves {
  __m256i lo, hi;
};
static inline __m256 lo_ps(__m512 a) { return _mm256_castsi256_ps(bits<Halves>(a).lo); }
static inline __m256 hi_ps(__m512 a) { return _mm256_castsi256_ps(bits<Halves>(a).hi); }
static inline __m512 join_ps(__m256 lo, __m256 hi) {
  return bits<__m512>(Halves{_mm256_castps_si256(lo), _mm256_castps_si256(hi)});
}
static inline __m512i join(__m256i lo, __m256i hi) { return bits<__m512i>(Halves{lo, hi}); }

static inline __m512i cvtps_epi32(__m512 a) {
  return join(_mm256_cvtps_epi32(lo_ps(a)), _mm256_cvtps_epi32(hi_ps(a)));
}
static inline __m512 cvtepi32_ps(__m512i a) {
  const Halves h = bits<Halves>(a);
  return join_ps(_mm256_cvtepi32_ps(h.lo), _mm256_cvtepi32_ps(h.hi));
}
static inline __m512 cvtph_ps(__m256i a) {
  return join_ps(_mm256_cvtph_ps(_mm256_castsi256_si128(a)),
                 _mm256_cvtph_ps(_mm256_extracti128_si256(a, 1)));
}
template <int Rounding>
static inline __m256i cvtps_ph(__m512 a) {
  return _mm256_set_m128i(_mm256_cvtps_ph(hi_ps(a), Rounding & 7),
                          _mm256_cvtps_ph(lo_ps(a), Rounding & 7));
}
static inline __m512i cvtepi8_epi32(__m128i a) {
  return join(_mm256_cvtepi8_epi32(a), _mm256_cvtepi8_epi32(_mm_srli_si128(a, 8)));
}
static inline __m512i cvtepu8_epi32(__m128i a) {
  return join(_mm256_cvtepu8_epi32(a), _mm256_cvtepu8_epi32(_mm_srli_si128(a, 8)));
}
static inline __m512i cvtepi16_epi32(__m256i a) {
  return join(_mm256_cvtepi16_epi32(_mm256_castsi256_si128(a)),
              _mm256_cvtepi16_epi32(_mm256_extracti128_si256(a, 1)));
}
static inline __m512i cvtepu16_epi32(__m256i a) {
  return join(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(a)),
              _mm256_cvtepu16_epi32(_mm256_extracti128_si256(a, 1)));
}
template <int Half>
static inline __m256 extractf32x8_ps(__m512 a) {
  return Half == 0 ? lo_ps(a) : hi_ps(a);
}

template <unsigned Count>
static inline __m512i srai_epi32(__m512i a) {
  const Halves h = bits<Halves>(a);
  return join(_mm256_srai_epi32(h.lo, Count), _mm256_srai_epi32(h.hi, Count));
}

// SIMDe leaves -0 as it is.
static inline __m512 abs_ps(__m512 a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return join_ps(_mm256_andnot_ps(sign, lo_ps(a)), _mm256_andnot_ps(sign, hi_ps(a)));
}

// Narrowing by dropping the high halves.
static inline __m256i cvtepi32_epi16(__m512i a) {
  const auto wide = bits<Lanes<uint32_t, 16>>(a);
  Lanes<uint16_t, 16> out;
  for (int i = 0; i < 16; ++i) out.v[i] = (uint16_t)(wide.v[i] & 0xffffu);
  return bits<__m256i>(out);
}
// Narrowing of unsigned lanes with saturation.
template <class Narrow, class Vector>
static inline Vector narrow_unsigned(__m512i a) {
  const auto wide = bits<Lanes<uint32_t, 16>>(a);
  const uint32_t top = (Narrow)-1;
  Lanes<Narrow, 16> out;
  for (int i = 0; i < 16; ++i) out.v[i] = (Narrow)(wide.v[i] < top ? wide.v[i] : top);
  return bits<Vector>(out);
}

template <class Vector, class Element>
static inline Vector load_masked(uint64_t mask, const void* p) {
  constexpr int kCount = (int)(sizeof(Vector) / sizeof(Element));
  Lanes<Element, kCount> out;
  for (int i = 0; i < kCount; ++i) {
    out.v[i] = 0;
    if ((mask >> i) & 1u) memcpy(&out.v[i], (const char*)p + i * sizeof(Element), sizeof(Element));
  }
  return bits<Vector>(out);
}
template <class Element, class Vector>
static inline void store_masked(void* p, uint64_t mask, Vector a) {
  constexpr int kCount = (int)(sizeof(Vector) / sizeof(Element));
  const auto lanes = bits<Lanes<Element, kCount>>(a);
  for (int i = 0; i < kCount; ++i) {
    if ((mask >> i) & 1u) memcpy((char*)p + i * sizeof(Element), &lanes.v[i], sizeof(Element));
  }
}

// The lowest bytes of a in order to the lanes whose bit is set, zero to the others.
static inline __m512i expand_bytes(uint64_t mask, __m512i a) {
  const auto packed = bits<Lanes<uint8_t, 64>>(a);
  Lanes<uint8_t, 64> out;
  int next = 0;
  for (int i = 0; i < 64; ++i) out.v[i] = (mask >> i) & 1u ? packed.v[next++] : (uint8_t)0;
  return bits<__m512i>(out);
}

// Four u8 x s8 products per lane, summed without saturation: bytes at even and odd places apart,
// as 16-bit numbers that vpmaddwd multiplies and pairs up in 32 bits.
static inline __m256i dpbusd_256(__m256i sum, __m256i a, __m256i b) {
  const __m256i a_even = _mm256_and_si256(a, _mm256_set1_epi16(0xff));
  const __m256i a_odd = _mm256_srli_epi16(a, 8);
  const __m256i b_even = _mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8);
  const __m256i b_odd = _mm256_srai_epi16(b, 8);
  const __m256i products =
      _mm256_add_epi32(_mm256_madd_epi16(a_even, b_even), _mm256_madd_epi16(a_odd, b_odd));
  return _mm256_add_epi32(sum, products);
}

// AMX, palette 1: eight tiles of at most 16 rows of 64 bytes. What hardware answers with a fault
// ends the process with a message.
constexpr int kTiles = 8, kTileRows = 16, kTileBytes = 64;

struct TileMemory {
  bool configured;
  int rows[kTiles];
  int row_bytes[kTiles];
  uint8_t data[kTiles][kTileRows][kTileBytes];
};
static thread_local TileMemory t_tiles;

[[noreturn]] static inline void tile_fault(const char* what) {
  fprintf(stderr, "emulated AMX: %s\n", what);
  abort();
}

static inline void check_tile(int tile) {
  if (!t_tiles.configured) tile_fault("a tile is used before _tile_loadconfig");
  if (tile < 0 || tile >= kTiles) tile_fault("no such tile");
  if (t_tiles.rows[tile] == 0) tile_fault("a tile is used that the configuration leaves out");
}

static inline void tile_release() { memset(&t_tiles, 0, sizeof t_tiles); }

static inline void tile_loadconfig(const void* p) {
  uint8_t raw[64];
  memcpy(raw, p, sizeof raw);
  tile_release();
  if (raw[0] == 0) return;
  if (raw[0] != 1) tile_fault("unknown palette");
  if (raw[1] != 0) tile_fault("a start row other than 0 is not emulated");
  for (int i = 2; i < 16; ++i) {
    if (raw[i] != 0) tile_fault("a reserved byte of the configuration is set");
  }
  for (int tile = 0; tile < 16; ++tile) {
    const int row_bytes = raw[16 + 2 * tile] | raw[17 + 2 * tile] << 8;
    const int rows = raw[48 + tile];
    if (tile >= kTiles) {
      if (row_bytes != 0 || rows != 0) tile_fault("more than eight tiles are configured");
      continue;
    }
    if (row_bytes > kTileBytes || rows > kTileRows) tile_fault("a tile is configured too large");
    if ((row_bytes == 0) != (rows == 0)) tile_fault("a tile has rows or columns, but not both");
    t_tiles.rows[tile] = rows;
    t_tiles.row_bytes[tile] = row_bytes;
  }
  t_tiles.configured = true;
}

static inline void tile_zero(int tile) {
  check_tile(tile);
  memset(t_tiles.data[tile], 0, sizeof t_tiles.data[tile]);
}

static inline void tile_loadd(int tile, const void* base, int64_t stride) {
  tile_zero(tile);
  for (int r = 0; r < t_tiles.rows[tile]; ++r) {
    const char* row = (const char*)base + r * stride;
    memcpy(t_tiles.data[tile][r], row, (size_t)t_tiles.row_bytes[tile]);
  }
}

static inline void tile_stored(int tile, void* base, int64_t stride) {
  check_tile(tile);
  for (int r = 0; r < t_tiles.rows[tile]; ++r) {
    char* row = (char*)base + r * stride;
    memcpy(row, t_tiles.data[tile][r], (size_t)t_tiles.row_bytes[tile]);
  }
}

// One row of the product: sum[n] += four u8 or s8 of a x four s8 of b, for each group of four
// along k.
template <class A>
static inline void dot_row(int32_t* sum, const A* a, int b_tile, int groups, int columns) {
  for (int g = 0; g < groups; ++g) {
    const uint8_t* b = t_tiles.data[b_tile][g];
    for (int n = 0; n < columns; ++n) {
      int32_t dot = 0;
      for (int i = 0; i < 4; ++i) dot += (int32_t)a[4 * g + i] * (int8_t)b[4 * n + i];
      sum[n] = (int32_t)((uint32_t)sum[n] + (uint32_t)dot);
    }
  }
}

template <class A>
static inline void tile_dot(int c, int a, int b) {
  check_tile(c);
  check_tile(a);
  check_tile(b);
  if (c == a || c == b || a == b) tile_fault("a product needs three different tiles");
  const int columns = t_tiles.row_bytes[c] / 4, groups = t_tiles.row_bytes[a] / 4;
  const bool whole = t_tiles.row_bytes[c] % 4 == 0 && t_tiles.row_bytes[a] % 4 == 0;
  const bool fits = t_tiles.rows[c] == t_tiles.rows[a] && t_tiles.rows[b] == groups &&
                    t_tiles.row_bytes[b] == t_tiles.row_bytes[c];
  if (!whole || !fits) tile_fault("the shapes of a product do not fit");
  for (int m = 0; m < t_tiles.rows[c]; ++m) {
    int32_t sum[kTileBytes / 4];
    memcpy(sum, t_tiles.data[c][m], sizeof sum);
    dot_row(sum, (const A*)t_tiles.data[a][m], b, groups, columns);
    memcpy(t_tiles.data[c][m], sum, sizeof sum);
  }
}

}  // namespace
}  // namespace octavo_emulated

// The compiler's own headers declare these names too, as functions or as macros.
#undef _mm512_cvtps_epi32
#define _mm512_cvtps_epi32(a) octavo_emulated::cvtps_epi32(a)
#undef _mm512_cvtepi32_ps
#define _mm512_cvtepi32_ps(a) octavo_emulated::cvtepi32_ps(a)
#undef _mm512_cvtph_ps
#define _mm512_cvtph_ps(a) octavo_emulated::cvtph_ps(a)
#undef _mm512_cvtps_ph
#define _mm512_cvtps_ph(a, rounding) octavo_emulated::cvtps_ph<(rounding)>(a)
#undef _mm512_cvtepi8_epi32
#define _mm512_cvtepi8_epi32(a) octavo_emulated::cvtepi8_epi32(a)
#undef _mm512_cvtepu8_epi32
#define _mm512_cvtepu8_epi32(a) octavo_emulated::cvtepu8_epi32(a)
#undef _mm512_cvtepi16_epi32
#define _mm512_cvtepi16_epi32(a) octavo_emulated::cvtepi16_epi32(a)
#undef _mm512_cvtepu16_epi32
#define _mm512_cvtepu16_epi32(a) octavo_emulated::cvtepu16_epi32(a)
#undef _mm512_srai_epi32
#define _mm512_srai_epi32(a, count) octavo_emulated::srai_epi32<(count)>(a)
#undef _mm512_abs_ps
#define _mm512_abs_ps(a) octavo_emulated::abs_ps(a)
#undef _mm512_cvtepi32_epi16
#define _mm512_cvtepi32_epi16(a) octavo_emulated::cvtepi32_epi16(a)
#undef _mm512_cvtusepi32_epi8
#define _mm512_cvtusepi32_epi8(a) (octavo_emulated::narrow_unsigned<uint8_t, __m128i>(a))
#undef _mm512_cvtusepi32_epi16
#define _mm512_cvtusepi32_epi16(a) (octavo_emulated::narrow_unsigned<uint16_t, __m256i>(a))
#undef _mm512_extractf32x8_ps
#define _mm512_extractf32x8_ps(a, half) octavo_emulated::extractf32x8_ps<(half)>(a)

#undef _mm512_maskz_loadu_ps
#define _mm512_maskz_loadu_ps(mask, p) (octavo_emulated::load_masked<__m512, float>(mask, p))
#undef _mm512_maskz_loadu_epi32
#define _mm512_maskz_loadu_epi32(mask, p) (octavo_emulated::load_masked<__m512i, int32_t>(mask, p))
#undef _mm256_maskz_loadu_epi16
#define _mm256_maskz_loadu_epi16(mask, p) (octavo_emulated::load_masked<__m256i, int16_t>(mask, p))
#undef _mm_maskz_loadu_epi8
#define _mm_maskz_loadu_epi8(mask, p) (octavo_emulated::load_masked<__m128i, int8_t>(mask, p))
#undef _mm512_mask_storeu_ps
#define _mm512_mask_storeu_ps(p, mask, a) octavo_emulated::store_masked<float>(p, mask, a)
#undef _mm512_mask_storeu_epi32
#define _mm512_mask_storeu_epi32(p, mask, a) octavo_emulated::store_masked<int32_t>(p, mask, a)
#undef _mm256_mask_storeu_epi16
#define _mm256_mask_storeu_epi16(p, mask, a) octavo_emulated::store_masked<int16_t>(p, mask, a)
#undef _mm_mask_storeu_epi8
#define _mm_mask_storeu_epi8(p, mask, a) octavo_emulated::store_masked<int8_t>(p, mask, a)

#undef _mm512_maskz_expand_epi8
#define _mm512_maskz_expand_epi8(mask, a) octavo_emulated::expand_bytes(mask, a)

#undef _mm256_dpbusd_avx_epi32
#define _mm256_dpbusd_avx_epi32(sum, a, b) octavo_emulated::dpbusd_256(sum, a, b)

#undef _tile_loadconfig
#define _tile_loadconfig(p) octavo_emulated::tile_loadconfig(p)
#undef _tile_release
#define _tile_release() octavo_emulated::tile_release()
#undef _tile_zero
#define _tile_zero(tile) octavo_emulated::tile_zero(tile)
#undef _tile_loadd
#define _tile_loadd(tile, base, stride) octavo_emulated::tile_loadd(tile, base, stride)
#undef _tile_stream_loadd
#define _tile_stream_loadd(tile, base, stride) octavo_emulated::tile_loadd(tile, base, stride)
#undef _tile_stored
#define _tile_stored(tile, base, stride) octavo_emulated::tile_stored(tile, base, stride)
#undef _tile_dpbusd
#define _tile_dpbusd(c, a, b) octavo_emulated::tile_dot<uint8_t>(c, a, b)
#undef _tile_dpbssd
#define _tile_dpbssd(c, a, b) octavo_emulated::tile_dot<int8_t>(c, a, b)
