// SPDX-License-Identifier: Apache-2.0
// Runs every kernel row that is compiled in and that this machine (or the emulation) supports.
#include <cstdio>

#include "check.h"
#include "dispatch/registry.h"
#include "guarded.h"
#include "tests.h"

namespace octavo_test {
namespace {

// The two families that measure the machine: they read what they are given and count their work.
void test_probes() {
  for (const auto& kernel : octavo::kernel_rows<octavo::StreamReadArgs>()) {
    if (!(octavo::detected_isas() & octavo::bit(kernel.isa))) continue;
    covered(kernel.name);
    for (const std::int64_t bytes : {0, 256, 768, 8192}) {
      Guarded<std::uint8_t> data(bytes);
      data.fill(3);
      std::uint64_t sink = 1;
      kernel.run({data.data(), bytes, &sink});
    }
  }
  for (const auto& kernel : octavo::kernel_rows<octavo::DotPeakArgs>()) {
    if (!(octavo::detected_isas() & octavo::bit(kernel.isa))) continue;
    covered(kernel.name);
    std::int64_t once = 0, ten_times = 0;
    std::int32_t sink = 0;
    kernel.run({1, &once, &sink});
    kernel.run({10, &ten_times, &sink});
    check(once > 0 && ten_times == 10 * once, std::string(kernel.name) + " counts its operations");
  }
}

}  // namespace
}  // namespace octavo_test

int main() {
  using namespace octavo_test;
  for (const octavo::IsaInfo& info : octavo::isa_table()) {
    const bool usable = (octavo::detected_isas() & octavo::bit(info.isa)) != 0;
    std::printf("tier %s: %s\n", info.token,
                usable ? "tested" : (info.compiled ? "not supported here" : "not compiled in"));
  }
  test_fused();
  test_packed_b();
  test_gemm_s8();
  test_slots();
  test_gather_s8();
  test_spread_s8();
  test_transpose_s8();
  test_bitmap();
  test_expand_s8();
  test_gemm_bitmap_s8();
  test_blocks();
  test_gemm_blocks_s8();
  test_quads();
  test_spread_quads_s8();
  test_strips();
  test_spread_strips_s8();
  test_quantize_rows();
  test_epilogue();
  test_quantize_linear();
  test_dequantize_linear();
  test_widen();
  test_activation();
  test_softmax();
  test_layer_norm();
  test_attention();
  test_sliced_f32();
  test_spmm_f32();
  test_transpose_f32();
  test_int4();
  test_gemm_s4();
  test_hostile();
  test_probes();
  check_all_covered();
  return finish();
}
