// SPDX-License-Identifier: Apache-2.0
#include "options.h"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

namespace octavo_bench {
namespace {

constexpr std::int64_t kMostCalls = 1'000'000'000;

std::int64_t positive(const std::string& option, const std::string& text) {
  char* end = nullptr;
  const long long value = std::strtoll(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || value < 1 || value > kMostCalls) {
    throw std::invalid_argument(option + ": expected a number from 1 to 1000000000, got '" + text +
                                "'");
  }
  return value;
}

}  // namespace

const char* const kUsage =
    "usage: octavo_bench [options]\n"
    "Measures what this device does; docs/device.md describes the file that it writes.\n"
    "  --json FILE   write the results to FILE\n"
    "  --tier TIER   use this tier and what it implies, not the best one\n"
    "  --only TEXT   only cases with TEXT in \"kind case\", such as \"kernel gemm_s8 1x\"; "
    "repeatable\n"
    "  --quick       short turns, for a look or a test\n"
    "  --calls N     no times: call each case N times on one thread, for programs that count\n"
    "                instructions; set-up and one call before come on top\n"
    "  --help        this text\n";

bool Options::wants(const std::string& kind, const std::string& name) const {
  const std::string full = kind + " " + name;
  return only.empty() || std::any_of(only.begin(), only.end(), [&](const std::string& text) {
           return full.find(text) != std::string::npos;
         });
}

Options parse_options(int argc, const char* const* argv) {
  Options out;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    const auto value = [&]() -> std::string {
      if (i + 1 == argc) throw std::invalid_argument(option + ": expected a value after it");
      return argv[++i];
    };
    if (option == "--help") {
      out.help = true;
    } else if (option == "--quick") {
      out.quick = true;
    } else if (option == "--json") {
      out.json = value();
    } else if (option == "--tier") {
      out.tier = value();
    } else if (option == "--only") {
      out.only.push_back(value());
    } else if (option == "--calls") {
      out.calls = positive(option, value());
    } else {
      throw std::invalid_argument("unknown option '" + option + "'");
    }
  }
  if (out.calls > 0 && !out.json.empty()) {
    throw std::invalid_argument("--calls: nothing is timed then, so there is nothing for --json");
  }
  return out;
}

}  // namespace octavo_bench
