// SPDX-License-Identifier: Apache-2.0
// The small files of /sys and /proc: read if they are there, and never trusted.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace octavo_bench {

// Empty where there is no such file, or nothing in it.
std::string read_text(const std::string& path);

// The positive number, decimal or 0x..., that is all that a file says.
std::optional<std::int64_t> read_number(const std::string& path);

// The CPUs of a list such as "0-3,6", rising; none for anything else.
std::vector<int> read_cpus(const std::string& path);

// Of the machine, if the system tells.
std::optional<std::int64_t> memory_bytes();

}  // namespace octavo_bench
