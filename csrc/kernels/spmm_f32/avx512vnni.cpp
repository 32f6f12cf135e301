// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/lanes16_avx512vnni.h"
#include "kernels/spmm_f32/gather_x86.h"

#include "kernels/spmm_f32/generic.h"

namespace octavo {

void spmm_f32_f32_avx512vnni(const SpmmF32Args& args) noexcept { spmm_generic(args); }

}  // namespace octavo
