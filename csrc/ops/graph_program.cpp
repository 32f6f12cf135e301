// SPDX-License-Identifier: Apache-2.0
#include "ops/graph_program.h"

#include <utility>

#include "memory/sizes.h"
#include "threads/interrupt.h"

namespace octavo {

GraphProgram::GraphProgram(std::int64_t arena_bytes) : arena_bytes_(arena_bytes) {
  expect(arena_bytes >= 0, "arena_bytes", "a number of bytes");
}

Tensor GraphProgram::tensor(const char* name, std::int64_t at, std::int64_t count,
                            std::int64_t item) const {
  const Tensor tensor = {at, checked_mul(count, item)};
  expect(at >= 0 && at % kAlignment == 0, name, "a multiple of 64");
  expect(checked_add(at, tensor.bytes) <= arena_bytes_, name, "a tensor inside the arena");
  return tensor;
}

void GraphProgram::add(std::unique_ptr<const GraphStep> step) {
  const std::lock_guard<std::mutex> lock(mutex_);
  expect(!has_run_, "self", "a program that has not run");
  steps_.push_back(std::move(step));
}

void GraphProgram::run(std::uint8_t* arena) const {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    has_run_ = true;
  }
  for (const auto& step : steps_) {
    if (interrupted()) return;
    step->run(arena);
  }
}

std::size_t GraphProgram::nbytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::size_t bytes = 0;
  for (const auto& step : steps_) bytes += step->nbytes();
  return bytes;
}

}  // namespace octavo
