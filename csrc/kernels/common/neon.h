// SPDX-License-Identifier: Apache-2.0
// The one door to ARM intrinsics.
#pragma once
#include <arm_neon.h>
