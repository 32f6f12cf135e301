// SPDX-License-Identifier: Apache-2.0
// The tests of test_kernels: one per kernel family, and one for each packed weight.
#pragma once

namespace octavo_test {

void test_fused();
void test_packed_b();
void test_gemm_s8();
void test_slots();
void test_gather_s8();
void test_spread_s8();
void test_transpose_s8();
void test_bitmap();
void test_expand_s8();
void test_gemm_bitmap_s8();
void test_blocks();
void test_gemm_blocks_s8();
void test_quads();
void test_spread_quads_s8();
void test_strips();
void test_spread_strips_s8();
void test_quantize_rows();
void test_epilogue();
void test_quantize_linear();
void test_dequantize_linear();
void test_widen();
void test_activation();
void test_softmax();
void test_layer_norm();
void test_attention();
void test_sliced_f32();
void test_spmm_f32();
void test_transpose_f32();
void test_int4();
void test_gemm_s4();
void test_hostile();

}  // namespace octavo_test
