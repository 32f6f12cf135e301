// SPDX-License-Identifier: Apache-2.0
#include "json.h"

#include <cmath>
#include <cstdio>

namespace octavo_bench {
namespace {

std::string joined(const std::vector<std::string>& values) {
  std::string out;
  for (const std::string& value : values) out += (out.empty() ? "" : ", ") + value;
  return out;
}

}  // namespace

std::string json_string(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte > 0x7e) {  // what a system calls itself may be in any encoding
      out += '?';
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string json_number(std::optional<double> value) {
  if (!value || !std::isfinite(*value)) return "null";
  char text[32];
  const bool whole = *value == std::floor(*value) && std::fabs(*value) < 1e15;
  std::snprintf(text, sizeof text, whole ? "%.0f" : "%.6g", *value);
  return text;
}

std::string json_list(const std::vector<std::string>& values) { return "[" + joined(values) + "]"; }

std::string json_object(const JsonFields& fields) {
  std::vector<std::string> parts;
  for (const auto& [name, value] : fields) parts.push_back(json_string(name) + ": " + value);
  return "{" + joined(parts) + "}";
}

}  // namespace octavo_bench
