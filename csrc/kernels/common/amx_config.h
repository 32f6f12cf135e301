// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <stdint.h>

#include "kernels/common/compiler.h"
#include "kernels/common/x86.h"

namespace {

// Palette 1 with all eight tiles at 16 rows of 64 bytes.
struct alignas(64) AmxConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t bytes_per_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

static inline void configure_tiles(const AmxConfig& config) {
  OCTAVO_WRITTEN(&config);
  _tile_loadconfig(&config);
}

}  // namespace
