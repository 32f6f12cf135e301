// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <stdint.h>
#include <string.h>

namespace octavo {
namespace {

// Four codes as one lane, wherever they lie.
static inline int32_t four_bytes(const void* p) {
  int32_t four;
  memcpy(&four, p, 4);
  return four;
}

}  // namespace
}  // namespace octavo
