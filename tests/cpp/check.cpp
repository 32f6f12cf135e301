// SPDX-License-Identifier: Apache-2.0
#include "check.h"

#include <cstdio>

namespace octavo_test {
namespace {

constexpr int kPrinted = 20;
long g_checks = 0;
int g_failures = 0;

}  // namespace

void check(bool ok, const std::string& what) {
  ++g_checks;
  if (ok) return;
  if (++g_failures <= kPrinted) std::fprintf(stderr, "FAILED %s\n", what.c_str());
}

int finish() {
  std::printf("%ld checks, %d failures\n", g_checks, g_failures);
  return g_failures == 0 ? 0 : 1;
}

}  // namespace octavo_test
