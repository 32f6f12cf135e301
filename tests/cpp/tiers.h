// SPDX-License-Identifier: Apache-2.0
// The tiers to test: those of this machine, or of them those that OCTAVO_TEST_TIERS lists.
#pragma once
#include <string>

#include "dispatch/isa.h"

namespace octavo_test {

octavo::IsaMask tested_tiers();

// Fails for a tier that OCTAVO_TEST_REQUIRE lists and that is not tested.
void check_required_tiers();

// Calls run(token) with each tier forced; none is afterwards.
template <class Run>
void for_each_tier(const Run& run) {
  for (const octavo::IsaInfo& info : octavo::isa_table()) {
    if (!(tested_tiers() & octavo::bit(info.isa))) continue;
    octavo::force_isa(info.token);
    run(std::string(info.token));
  }
  octavo::force_isa(nullptr);
}

}  // namespace octavo_test
