// SPDX-License-Identifier: Apache-2.0
// The tests of test_kernels: one per kernel family, and one for each packed weight.
#pragma once

namespace octavo_test {

void test_fused();
void test_packed_b();
void test_gemm_s8();
void test_windowed();
void test_gather_s8();
void test_broadcast_windowed_s8();
void test_transpose_s8();
void test_bitmap();
void test_expand_s8();
void test_gemm_bitmap_s8();
void test_bsr16x4();
void test_gemm_bsr16x4_s8();
void test_bsr1x4();
void test_broadcast_bsr1x4_s8();
void test_bsr4x1();
void test_broadcast_bsr4x1_s8();
void test_quantize_rows();
void test_epilogue();
void test_requantize();
void test_depthwise_s8();
void test_gemm_codes_s8();
void test_quantize_linear();
void test_dequantize_linear();
void test_widen();
void test_activation();
void test_softmax();
void test_layer_norm();
void test_rms_norm();
void test_rotary();
void test_gated();
void test_elementwise();
void test_window();
void test_interpolate();
void test_lookup_s8();
void test_attention();
void test_attention_codes();
void test_attention_block();
void test_attention_sum();
void test_sliced_f32();
void test_spmm_f32();
void test_transpose_f32();
void test_panels_f32();
void test_gemm_f32();
void test_grouped();
void test_gemm_groups();
void test_group_minima();
void test_hostile();

}  // namespace octavo_test
