// SPDX-License-Identifier: Apache-2.0
// As much of JSON as a file of results needs: values are made as text.
#pragma once
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace octavo_bench {

std::string json_string(const std::string& text);

// null where there is no number, or none that JSON has.
std::string json_number(std::optional<double> value);

// Of values that are JSON already.
std::string json_list(const std::vector<std::string>& values);
using JsonFields = std::vector<std::pair<const char*, std::string>>;
std::string json_object(const JsonFields& fields);

}  // namespace octavo_bench
