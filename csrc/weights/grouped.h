// SPDX-License-Identifier: Apache-2.0
// A weight of codes of 4, 5 or 8 bits with a scale for each group of inputs, and perhaps a minimum
// that is added: the operand of gemm_groups, whose kernel.h draws the codes. One layout serves all
// tiers; bytes say themselves what they are:
//
//   | form | codes | high bits, of 5 bits | scales | their units | minima | their units | order |
//
// Each part but the order is of all panels, one after the other, and begins at a multiple of 64
// bytes. k is padded to groups, n to panels of 16. Of a panel, 8 inputs are 64 bytes of codes (128
// of 8 bits) and 16 of high bits; a group is 16 numbers, and 8 groups are 16 units where numbers
// are steps. Codes are unsigned: signed ones, of a weight without minima, have half of their range
// added.
//
//   value = code * scale + minimum
#pragma once
#include <cstdint>

#include "kernels/gemm_groups/kernel.h"
#include "weights/weight.h"

namespace octavo {

struct GroupedForm {
  std::int32_t bits;   // of a code: 4, 5 or 8
  std::int32_t group;  // inputs: 32, 64 or 128
  GroupNumbers scale;
  GroupNumbers minimum;  // kNone: codes are signed
  std::int32_t ordered;  // whether inputs come in an order of their own

  bool is_valid() const;
  // What is added to codes where they are held.
  int offset() const { return minimum == GroupNumbers::kNone ? 1 << (bits - 1) : 0; }
};

// Row-major numbers of (n, groups), and of (n, groups / 8, rounded up) their units, where held so.
struct GroupValues {
  const void* values;
  const std::uint16_t* units;
};

class GroupedWeight final : public Weight {
 public:
  // Whether k numbers are an order of as many inputs: each of them once.
  static bool is_order(const std::int32_t* order, std::int64_t k);

  // codes: (n, k) row-major, as the form has them. order: null, or which input each of them is for.
  GroupedWeight(const GroupedForm& form, const std::uint8_t* codes, const GroupValues& scale,
                const GroupValues& minimum, const std::int32_t* order, std::int64_t n,
                std::int64_t k);
  GroupedWeight(AlignedBuffer packed, std::int64_t n, std::int64_t k);

  const GroupedForm& form() const { return form_; }
  std::int64_t group() const override { return form_.group; }
  std::int64_t groups() const { return ceil_div(k(), form_.group); }
  std::int64_t units() const { return ceil_div(groups(), kGroupsPerUnit); }
  // Sums need no correction: rows have no zero points.
  const std::int32_t* col_sum() const override { return nullptr; }
  const std::int32_t* order() const override;
  void unpack(std::int8_t* out) const override;
  // Numbers of groups as they were given.
  void unpack_scale(void* values, std::uint16_t* units) const;
  void unpack_minimum(void* values, std::uint16_t* units) const;
  // Rows as float32, in the order of inputs: out (count, k). Each id is below n.
  void rows(const std::int64_t* ids, std::int64_t count, float* out) const;

  Schedule schedule(std::int64_t m, IsaMask mask) const override;
  // The sums of each group's codes.
  void prepare(const Schedule& schedule, const CodeBlock& block, std::int64_t rows,
               std::int64_t begin, std::int64_t end) const override;
  // Writes float32.
  void multiply(const Schedule& schedule, const CodeBlock& block, std::int64_t rows, std::int64_t p,
                std::int64_t panels, std::int32_t* sums, std::int64_t stride) const override;

 private:
  // Where numbers of groups begin, and bytes from panel to panel.
  struct Plane {
    GroupNumbers kind = GroupNumbers::kNone;
    std::int64_t at = 0, panel_bytes = 0, units_at = 0, unit_bytes = 0;
  };

  // Finds all parts for the form; returns where the last one ends.
  std::int64_t lay_out();
  Plane plane(GroupNumbers kind, std::int64_t& at) const;
  // From panel p on.
  PanelNumbers panels_of(const Plane& plane, std::int64_t p) const;
  void pack_codes(const std::uint8_t* codes);
  void pack_numbers(const Plane& plane, const GroupValues& from);
  void unpack_numbers(const Plane& plane, void* values, std::uint16_t* units) const;
  int code_at(std::int64_t row, std::int64_t input) const;
  float number_at(const Plane& plane, std::int64_t row, std::int64_t g) const;
  // c = sums of the codes of groups, scaled, times the minima.
  void start_at_minima(const Schedule& schedule, const CodeBlock& block, std::int64_t rows,
                       std::int64_t p, std::int64_t panels, float* c, std::int64_t stride) const;
  std::int64_t panel_numbers() const { return kPanelWidth * groups(); }
  // What codes of rows are multiplied by in sums that a kernel begins with.
  int base_factor(const GemmGroupsRow& kernel) const;

  GroupedForm form_;
  std::int64_t codes_at_ = 0, panel_bytes_ = 0, high_at_ = 0, high_bytes_ = 0, order_at_ = 0;
  Plane scale_, minimum_;
};

}  // namespace octavo
