// SPDX-License-Identifier: Apache-2.0
#include "arm_cores.h"

#include <cstdio>

namespace octavo_bench {

std::string arm_core(long implementer, long part) {
  char numbers[32];
  std::snprintf(numbers, sizeof numbers, "arm-%02lx-%03lx", implementer & 0xff, part & 0xfff);
  return numbers;
}

}  // namespace octavo_bench
