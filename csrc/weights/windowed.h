// SPDX-License-Identifier: Apache-2.0
// A sparse int8 weight in slots: the operand of gather_s8 and broadcast_windowed_s8, whose kernel.h
// draws its bytes. One layout serves all tiers.
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
#include "weights/formats.h"
#include "weights/weight.h"

namespace octavo {

// Windows of 16 (kNarrow) or 64 (kWide) inputs.
template <SlotIndex Kind>
class WindowedWeight final : public Weight {
 public:
  static constexpr int kSlots = 4;

  // codes: (n, k) row-major; window offsets have 16 bits. Throws std::length_error
  // where steps cannot be counted in 32 bits.
  WindowedWeight(const std::int8_t* codes, std::int64_t n, std::int64_t k);
  WindowedWeight(AlignedBuffer packed, std::int64_t n, std::int64_t k);
  static FormatCost cost(const std::int8_t* codes, std::int64_t n, std::int64_t k, IsaMask mask);

  std::int64_t steps() const { return steps_; }
  WindowedPanels stretch(std::int64_t p, std::int64_t panels) const;
  const std::int32_t* col_sum() const override { return at<std::int32_t>(offsets().col_sum); }
  void unpack(std::int8_t* out) const override;

  // gather_s8 for narrow windows and for few rows; else tiles of 32 rows and broadcast_windowed_s8.
  Schedule schedule(std::int64_t m, IsaMask mask) const override;
  void prepare(const Schedule& schedule, const CodeBlock& block, std::int64_t rows,
               std::int64_t begin, std::int64_t end) const override;
  void multiply(const Schedule& schedule, const CodeBlock& block, std::int64_t rows, std::int64_t p,
                std::int64_t panels, std::int32_t* sums, std::int64_t stride) const override;

 private:
  struct Offsets {
    std::int64_t window, first_step, negative_sum, col_sum, end;
  };
  static Offsets offsets_for(std::int64_t n, std::int64_t steps);
  Offsets offsets() const { return offsets_for(n(), steps_); }
  void check_step(std::int64_t p, std::int64_t t) const;
  // What slot `slot` of step t adds to the step's window.
  std::int64_t slot_index(std::int64_t t, std::int64_t slot) const;

  std::int64_t steps_;
};

extern template class WindowedWeight<SlotIndex::kNarrow>;
extern template class WindowedWeight<SlotIndex::kWide>;

}  // namespace octavo
