// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "dispatch/isa.h"

namespace octavo {

// What the CPU has and the operating system lets a process use.
struct CpuFeatures {
  std::string vendor;
  std::string brand;
  std::vector<std::pair<std::string, bool>> flags;  // by name, in a fixed order
  std::size_t l1d_bytes = 32 * 1024;
  std::size_t l2_bytes = 512 * 1024;

  bool has(const char* flag) const;
  bool supports(const IsaInfo& tier) const;
};

// Probed once, at the first call.
const CpuFeatures& cpu_features();

}  // namespace octavo
