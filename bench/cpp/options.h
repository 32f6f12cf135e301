// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace octavo_bench {

struct Options {
  std::string tier;               // empty: the best
  std::string json;               // where to write the results; empty: nowhere
  std::vector<std::string> only;  // parts of "kind case"; empty: all
  std::int64_t calls = 0;         // 0: as many as a stable time needs
  bool quick = false;
  bool help = false;

  // Whether a case was asked for.
  bool wants(const std::string& kind, const std::string& name) const;
};

extern const char* const kUsage;

// Throws std::invalid_argument.
Options parse_options(int argc, const char* const* argv);

}  // namespace octavo_bench
