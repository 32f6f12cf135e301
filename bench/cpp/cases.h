// SPDX-License-Identifier: Apache-2.0
// What octavo_bench times. Names, operations and bytes are those of docs/device.md.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace octavo_bench {

using Call = std::function<void()>;

// What the time of a call is held against.
enum class Limit { kNone, kDotAndRead, kRead, kCopy };

struct Case {
  std::string kind;
  std::string name;
  double operations;  // of a call
  double bytes;       // of a call
  Limit limit;
  double buffer = 0;  // bytes of read and copy's
  // Allocates the operands and fills them; what is timed uses the tier and threads set now.
  std::function<Call()> prepare;
};

// The tier's dot instruction on registers, on each of `threads` threads.
Case dot_peak(int threads);

// Passes over a buffer of about so many bytes, or copies from one half of it to the other.
Case read_buffer(const std::string& name, std::int64_t bytes, int threads);
Case copy_buffer(const std::string& name, std::int64_t bytes, int threads);

// The kernels, through csrc/ops.
std::vector<Case> kernel_cases();

}  // namespace octavo_bench
