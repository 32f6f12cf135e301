// SPDX-License-Identifier: Apache-2.0
// Every tier of this machine in turn.
#pragma once
#include <string>

#include "dispatch/isa.h"

namespace octavo_test {

// Calls run(token) with each tier forced; none is afterwards.
template <class Run>
void for_each_tier(const Run& run) {
  for (const octavo::IsaInfo& info : octavo::isa_table()) {
    if (!(octavo::detected_isas() & octavo::bit(info.isa))) continue;
    octavo::force_isa(info.token);
    run(std::string(info.token));
  }
  octavo::force_isa(nullptr);
}

}  // namespace octavo_test
