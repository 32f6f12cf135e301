// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/amx_config.h"
#include "kernels/common/x86.h"
#include "kernels/dot_peak/kernel.h"

namespace octavo {

void dot_peak_u8s8_amx_int8(const DotPeakArgs& args) noexcept {
  alignas(64) int32_t out[256];
  configure_tiles({});
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (int64_t it = 0; it < args.iterations; ++it) {
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 7);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
  }
  _tile_stored(0, out, 64);
  _tile_release();
  *args.sink = out[0];
  *args.operations = args.iterations * 4 * 16 * 16 * 64 * 2;
}

}  // namespace octavo
