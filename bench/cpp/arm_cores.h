// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>

namespace octavo_bench {

// The name of a core by implementer and part number, or its numbers where it has none.
std::string arm_core(long implementer, long part);

}  // namespace octavo_bench
