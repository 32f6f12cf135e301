// SPDX-License-Identifier: Apache-2.0
// Sixteen lanes in four xmm registers, by what is written for two of 256 bits.
#pragma once
#include "kernels/common/xmm_pairs.h"

#include "kernels/common/lanes16_avx2.h"
