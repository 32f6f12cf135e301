// SPDX-License-Identifier: Apache-2.0
// A sparse int8 weight in slots: the operand of gather_s8 and spread_s8, whose kernel.h draws its
// bytes. One layout serves all tiers.
//
//   | steps | window: steps | first_step: panels + 1 | negative_sum: 16 x panels | col_sum: n |
//
// A panel's steps are found greedily: a step's window starts at the smallest k that any of its 16
// columns has left, and each column takes up to 4 of its non-zeros within the window. Of the slots
// of a random weight, narrow steps fill 87, 73, 61% at 50, 70, 80% zeros; wide ones 96, 93, 88, 76,
// 57% at 50, 70, 80, 90, 95%. N:M patterns whose groups lie within 16 fill all where N divides 4 or
// 4 divides N.
//
// Bytes per slot: 1.53 narrow, 2.03 wide.
#pragma once
#include <cstdint>

#include "kernels/gather_s8/kernel.h"
#include "layout/aligned_buffer.h"

namespace octavo {

class PackedSlots {
 public:
  static constexpr int kPanelWidth = 16;
  static constexpr int kSlots = 4;
  static constexpr std::int64_t kMaxK = 65536;  // window offsets have 16 bits

  // codes: (n, k) row-major, all above -128; k at most kMaxK. Throws std::length_error where steps
  // cannot be counted in 32 bits.
  PackedSlots(const std::int8_t* codes, std::int64_t n, std::int64_t k, SlotIndex kind);

  std::int64_t n() const { return n_; }
  std::int64_t k() const { return k_; }
  std::int64_t panels() const { return (n_ + kPanelWidth - 1) / kPanelWidth; }
  SlotIndex kind() const { return kind_; }
  std::int64_t steps() const { return steps_; }
  SlotPanels stretch(std::int64_t p, std::int64_t panels) const;
  // One int32 (modulo 2^32) per column.
  const std::int32_t* col_sum() const { return part<std::int32_t>(offsets().col_sum); }
  std::size_t nbytes() const { return buffer_.size(); }

  // Row-major (n, k) codes, as given to the constructor.
  void unpack(std::int8_t* out) const;

  // What steps() would be, without building them.
  static std::int64_t count_steps(const std::int8_t* codes, std::int64_t n, std::int64_t k,
                                  SlotIndex kind);

 private:
  struct Offsets {
    std::int64_t window, first_step, negative_sum, col_sum, end;
  };
  static Offsets offsets_for(std::int64_t n, std::int64_t steps, SlotIndex kind);
  Offsets offsets() const { return offsets_for(n_, steps_, kind_); }
  template <class T>
  T* part(std::int64_t offset) const {
    return reinterpret_cast<T*>(buffer_.as<std::uint8_t>() + offset);
  }

  std::int64_t n_, k_, steps_;
  SlotIndex kind_;
  AlignedBuffer buffer_;  // one, so that large weights get huge pages
};

}  // namespace octavo
