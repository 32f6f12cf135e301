// SPDX-License-Identifier: Apache-2.0
#include "system_files.h"

#include <cctype>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

#if __has_include(<unistd.h>)
#include <unistd.h>
#endif

namespace octavo_bench {
namespace {

constexpr int kMostCpus = 4096;
constexpr std::size_t kLongestNumber = 18;

std::optional<std::int64_t> parse_number(const std::string& text) {
  const bool hex = text.rfind("0x", 0) == 0;
  const std::string digits = hex ? text.substr(2) : text;
  if (digits.empty() || digits.size() > kLongestNumber) return std::nullopt;
  for (const char c : digits) {
    const auto byte = static_cast<unsigned char>(c);
    if (hex ? !std::isxdigit(byte) : !std::isdigit(byte)) return std::nullopt;
  }
  const long long value = std::strtoll(digits.c_str(), nullptr, hex ? 16 : 10);
  return value > 0 || digits == "0" ? std::optional<std::int64_t>(value) : std::nullopt;
}

}  // namespace

std::string read_text(const std::string& path) {
  std::ifstream file(path);
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
  return text;
}

std::optional<std::int64_t> read_number(const std::string& path) {
  const std::optional<std::int64_t> number = parse_number(read_text(path));
  return number && *number > 0 ? number : std::nullopt;
}

std::vector<int> read_cpus(const std::string& path) {
  std::set<int> found;
  std::istringstream list(read_text(path));
  for (std::string part; std::getline(list, part, ',');) {
    const std::size_t dash = part.find('-');
    const std::optional<std::int64_t> first = parse_number(part.substr(0, dash));
    const std::optional<std::int64_t> last =
        dash == std::string::npos ? first : parse_number(part.substr(dash + 1));
    if (!first || !last || *last < *first || *last >= kMostCpus) return {};
    for (std::int64_t cpu = *first; cpu <= *last; ++cpu) found.insert(static_cast<int>(cpu));
  }
  return {found.begin(), found.end()};
}

std::optional<std::int64_t> memory_bytes() {
#if defined(_SC_PHYS_PAGES) && defined(_SC_PAGESIZE)
  const std::int64_t pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  if (pages > 0 && page > 0) return pages * page;
#endif
  return std::nullopt;
}

}  // namespace octavo_bench
