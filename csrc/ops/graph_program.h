// SPDX-License-Identifier: Apache-2.0
// Steps of a graph over one arena of bytes; python/octavo/_numpy/graph_program.py says what they
// compute. Tensors are contiguous and begin at multiples of 64 bytes. Steps that are made here have
// been checked so far that none reads or writes beyond the arena, whatever it was given.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace octavo {

// Throws std::invalid_argument, which names an argument, where it does not fit.
inline void expect(bool fits, const char* name, const char* expected) {
  if (!fits) throw std::invalid_argument(std::string(name) + ": expected " + expected);
}

class GraphStep {
 public:
  virtual ~GraphStep() = default;
  // May run for several arenas at a time. Interrupted, it leaves what it writes half made.
  virtual void run(std::uint8_t* arena) const = 0;
  // Of its constants.
  virtual std::size_t nbytes() const = 0;
};

// A step of what it does, and how many bytes of constants that holds.
template <class Run>
std::unique_ptr<const GraphStep> make_step(Run run, std::size_t nbytes = 0) {
  class Step final : public GraphStep {
   public:
    Step(Run run, std::size_t nbytes) : run_(std::move(run)), nbytes_(nbytes) {}
    void run(std::uint8_t* arena) const override { run_(arena); }
    std::size_t nbytes() const override { return nbytes_; }

   private:
    Run run_;
    std::size_t nbytes_;
  };
  return std::make_unique<const Step>(std::move(run), nbytes);
}

// Where a tensor lies.
struct Tensor {
  std::int64_t at = 0, bytes = 0;

  bool operator==(const Tensor& other) const { return at == other.at && bytes == other.bytes; }
  bool apart(const Tensor& other) const {
    return at + bytes <= other.at || other.at + other.bytes <= at;
  }
  template <class T>
  T* of(std::uint8_t* arena) const {
    return reinterpret_cast<T*>(arena + at);
  }
};

class GraphProgram {
 public:
  static constexpr std::int64_t kAlignment = 64;

  explicit GraphProgram(std::int64_t arena_bytes);

  // A tensor of the arena: `count` items of `item` bytes at a multiple of kAlignment.
  Tensor tensor(const char* name, std::int64_t at, std::int64_t count, std::int64_t item) const;

  // Before the first run; threads that add take turns.
  void add(std::unique_ptr<const GraphStep> step);

  // All steps in order, on an arena of arena_bytes(); from many threads, each with its own.
  void run(std::uint8_t* arena) const;

  std::int64_t arena_bytes() const { return arena_bytes_; }
  std::size_t nbytes() const;

 private:
  const std::int64_t arena_bytes_;
  mutable std::mutex mutex_;  // of the two below, until has_run_: then steps stay as they are
  mutable bool has_run_ = false;
  std::vector<std::unique_ptr<const GraphStep>> steps_;
};

}  // namespace octavo
