// SPDX-License-Identifier: Apache-2.0
#include "tiers.h"

#include <cstdlib>
#include <sstream>
#include <vector>

#include "check.h"

namespace octavo_test {
namespace {

// The words of a comma list in the environment.
std::vector<std::string> listed(const char* variable) {
  const char* value = std::getenv(variable);
  std::istringstream list(value == nullptr ? "" : value);
  std::vector<std::string> out;
  for (std::string word; std::getline(list, word, ',');) out.push_back(word);
  return out;
}

}  // namespace

octavo::IsaMask tested_tiers() {
  static const octavo::IsaMask mask = [] {
    const std::vector<std::string> wanted = listed("OCTAVO_TEST_TIERS");
    octavo::IsaMask some = 0;
    for (const std::string& token : wanted) {
      if (const octavo::IsaInfo* info = octavo::find_isa(token)) some |= octavo::bit(info->isa);
    }
    return octavo::detected_isas() & (wanted.empty() ? ~octavo::IsaMask{0} : some);
  }();
  return mask;
}

void check_required_tiers() {
  for (const std::string& token : listed("OCTAVO_TEST_REQUIRE")) {
    const octavo::IsaInfo* info = octavo::find_isa(token);
    check(info != nullptr && (tested_tiers() & octavo::bit(info->isa)),
          "tier '" + token + "' of OCTAVO_TEST_REQUIRE is tested");
  }
}

}  // namespace octavo_test
