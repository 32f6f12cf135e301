// SPDX-License-Identifier: Apache-2.0
#include "check.h"

#include <cstdio>
#include <set>

#include "dispatch/registry.h"

namespace octavo_test {
namespace {

constexpr int kPrinted = 20;
long g_checks = 0;
int g_failures = 0;

std::set<std::string>& covered_kernels() {
  static std::set<std::string> names;
  return names;
}

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

void covered(const char* kernel) { covered_kernels().insert(kernel); }

void check_all_covered() {
  int skipped = 0;
  for (const octavo::KernelInfo& kernel : octavo::list_kernels()) {
    if (!(octavo::detected_isas() & octavo::bit(kernel.isa))) {
      std::printf("skipped %s: not supported here\n", kernel.name.c_str());
      ++skipped;
      continue;
    }
    check(covered_kernels().count(kernel.name) == 1, kernel.name + " was run by no test");
  }
  std::printf("%zu kernels run, %d skipped\n", covered_kernels().size(), skipped);
}

}  // namespace octavo_test
