// SPDX-License-Identifier: Apache-2.0
// Element types that a kernel takes at run time.
#pragma once
#include <stdint.h>

namespace octavo {

enum class CodeType : uint8_t { kS8, kU8, kS16, kU16, kS32 };
enum class FloatType : uint8_t { kF32, kF16 };

struct Half {  // IEEE binary16
  uint16_t bits;
};

}  // namespace octavo
