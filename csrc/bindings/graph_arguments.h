// SPDX-License-Identifier: Apache-2.0
// What makes steps of a GraphProgram of arguments by name, and what these have in common.
#pragma once
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "bindings/keywords.h"
#include "ops/element_steps.h"
#include "ops/graph_program.h"

namespace octavo {

using Step = std::unique_ptr<const GraphStep>;

struct StepMaker {
  const char* name;  // of the method
  Step (*make)(const GraphProgram&, Keywords&);
};
const std::vector<StepMaker>& window_steps();
const std::vector<StepMaker>& element_steps();

constexpr std::int64_t kMostExtent = std::numeric_limits<std::int32_t>::max();

template <class Extents>
const Extents& checked(const Extents& extents, const char* name, std::int64_t least = 1) {
  for (const std::int64_t extent : extents) {
    if (extent < least || extent > kMostExtent) bad_argument(name, "extents of 31 bits");
  }
  return extents;
}

inline std::int32_t code(Keywords& k, const char* name) {
  const std::int64_t value = k.integer(name);
  if (value < -128 || value > 127) bad_argument(name, "a code of int8");
  return static_cast<std::int32_t>(value);
}

inline CodeRange code_range(Keywords& k, std::int32_t zero_point) {
  const std::int64_t low = k.integer("low", -128), high = k.integer("high", 127);
  if (low < -128 || high > 127 || low > high) bad_argument("high", "a code of int8, at least low");
  return {static_cast<float>(low - zero_point), static_cast<float>(high - zero_point), zero_point};
}
inline CodeRange code_range(Keywords& k) { return code_range(k, code(k, "out_zero_point")); }

// Refuses an output that lies among an input, unless it is that input and the step works in place.
inline void expect_apart(const Tensor& out, const Tensor& in, bool in_place = false) {
  if (!out.apart(in) && !(in_place && out == in)) {
    bad_argument("out", "memory that no input has");
  }
}

inline Bounds bounds(Keywords& k) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const double low = k.number("low", -kInfinity), high = k.number("high", kInfinity);
  if (!(low <= high)) bad_argument("high", "a number that is at least low");
  return {static_cast<float>(low), static_cast<float>(high)};
}

inline float finite(Keywords& k, const char* name) {
  const auto value = static_cast<float>(k.number(name));
  if (!std::isfinite(value)) bad_argument(name, "a finite number");
  return value;
}

inline double scale_of(Keywords& k, const char* name) {
  const double value = k.number(name);
  if (!(value > 0) || !std::isfinite(value)) bad_argument(name, "a positive, finite number");
  return value;
}

inline CodeParameters parameters(Keywords& k, const char* scale, const char* zero_point) {
  const auto code_of = static_cast<std::int8_t>(code(k, zero_point));
  return {static_cast<float>(scale_of(k, scale)), code_of};
}

}  // namespace octavo
