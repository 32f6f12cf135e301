// SPDX-License-Identifier: Apache-2.0
// Runs every kernel row that is compiled in and that this machine (or the emulation) supports.
// With --bench [family] it times them instead, in the same set-up.
#include <cstdio>
#include <cstring>

#include "bench.h"
#include "guarded.h"
#include "tests.h"

namespace octavo_test {
namespace {

using namespace octavo;

// The two families that measure the machine: they read what they are given and count their work.
void check_stream_read(const KernelRow<StreamReadArgs>& row, std::int64_t bytes) {
  Guarded<std::uint8_t> data(bytes);
  data.fill(3);
  std::uint64_t sink = 1;
  row.run({data.data(), bytes, &sink});
  time_case(std::string(row.name) + " bytes=" + std::to_string(bytes),
            [&] { row.run({data.data(), bytes, &sink}); });
}

void test_stream_read() {
  for_each_row<StreamReadArgs>(
      [](const auto& row) {
        for (const std::int64_t bytes : {0, 256, 768, 8192}) check_stream_read(row, bytes);
      },
      [](const auto& row) { check_stream_read(row, 1 << 18); });
}

void test_dot_peak() {
  const auto check_row = [](const KernelRow<DotPeakArgs>& row) {
    std::int64_t once = 0, ten_times = 0;
    std::int32_t sink = 0;
    row.run({1, &once, &sink});
    row.run({10, &ten_times, &sink});
    check(once > 0 && ten_times == 10 * once, std::string(row.name) + " counts its operations");
    const std::int64_t iterations = (1 << 20) / once;
    time_case(std::string(row.name) + " operations=2^20",
              [&] { row.run({iterations, &once, &sink}); });
  };
  for_each_row<DotPeakArgs>([](const auto&) {}, check_row);
}

struct Test {
  const char* family;  // of kernels; null for a test of something else
  void (*run)();
};

constexpr Test kTests[] = {
    {nullptr, test_fused},
    {nullptr, test_packed_b},
    {"gemm_s8", test_gemm_s8},
    {nullptr, test_windowed},
    {"gather_s8", test_gather_s8},
    {"broadcast_windowed_s8", test_broadcast_windowed_s8},
    {"transpose_s8", test_transpose_s8},
    {nullptr, test_bitmap},
    {"expand_s8", test_expand_s8},
    {"gemm_bitmap_s8", test_gemm_bitmap_s8},
    {nullptr, test_bsr16x4},
    {"gemm_bsr16x4_s8", test_gemm_bsr16x4_s8},
    {nullptr, test_bsr1x4},
    {"broadcast_bsr1x4_s8", test_broadcast_bsr1x4_s8},
    {nullptr, test_bsr4x1},
    {"broadcast_bsr4x1_s8", test_broadcast_bsr4x1_s8},
    {"quantize_rows", test_quantize_rows},
    {"epilogue", test_epilogue},
    {"requantize", test_requantize},
    {"depthwise_s8", test_depthwise_s8},
    {"gemm_codes_s8", test_gemm_codes_s8},
    {"quantize_linear", test_quantize_linear},
    {"dequantize_linear", test_dequantize_linear},
    {"widen", test_widen},
    {"activation", test_activation},
    {"softmax", test_softmax},
    {"layer_norm", test_layer_norm},
    {"rms_norm", test_rms_norm},
    {"rotary", test_rotary},
    {"gated", test_gated},
    {"elementwise", test_elementwise},
    {"window", test_window},
    {"interpolate", test_interpolate},
    {"lookup_s8", test_lookup_s8},
    {"attention", test_attention},
    {"attention_codes", test_attention_codes},
    {"attention_block", test_attention_block},
    {"attention_sum", test_attention_sum},
    {nullptr, test_sliced_f32},
    {"spmm_f32", test_spmm_f32},
    {"transpose_f32", test_transpose_f32},
    {nullptr, test_panels_f32},
    {"gemm_f32", test_gemm_f32},
    {nullptr, test_grouped},
    {"gemm_groups", test_gemm_groups},
    {"group_minima", test_group_minima},
    {nullptr, test_hostile},
    {"stream_read", test_stream_read},
    {"dot_peak", test_dot_peak},
};

int check_kernels() {
  for (const IsaInfo& info : isa_table()) {
    const bool tested = (tested_tiers() & bit(info.isa)) != 0;
    std::printf("tier %s: %s\n", info.token,
                tested ? "tested" : (info.compiled ? "not tested here" : "not compiled in"));
  }
  for (const Test& test : kTests) test.run();
  check_all_covered();
  check_required_tiers();
  return finish();
}

int time_kernels(const char* family) {
#if OCTAVO_EMULATED_BUILD
  std::printf("tiers run in software here: their times say nothing\n");
#endif
  start_measuring();
  bool known = false;
  for (const Test& test : kTests) {
    if (test.family == nullptr || (family && std::strcmp(family, test.family) != 0)) continue;
    known = true;
    test.run();
    print_times();
  }
  if (known) return finish();
  std::fprintf(stderr, "no kernel family '%s'; there are:", family);
  for (const Test& test : kTests) {
    if (test.family) std::fprintf(stderr, " %s", test.family);
  }
  std::fprintf(stderr, "\n");
  return 2;
}

}  // namespace
}  // namespace octavo_test

int main(int argc, char** argv) {
  if (argc == 1) return octavo_test::check_kernels();
  if (argc <= 3 && std::strcmp(argv[1], "--bench") == 0) {
    return octavo_test::time_kernels(argc == 3 ? argv[2] : nullptr);
  }
  std::fprintf(stderr, "usage: test_kernels [--bench [family]]\n");
  return 2;
}
