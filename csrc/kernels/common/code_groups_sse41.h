// SPDX-License-Identifier: Apache-2.0
// Groups of two codes of 16 bits, as on AVX2.
#pragma once
#include "kernels/common/xmm_pairs.h"

#include "kernels/common/code_groups_avx2.h"
