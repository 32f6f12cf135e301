// SPDX-License-Identifier: Apache-2.0
// The packed int8 right operand of every gemm_s8 kernel; the byte layout is drawn in
// kernels/gemm_s8/kernel.h. One layout serves all tiers, so forcing a tier never repacks.
//
//   | panel 0: k_groups x 64 bytes | panel 1 | ... | slack | col_sum: n | orders |
//                                                            4 each      65 each
//
// k is padded with zeros to groups of 4, n to panels of 16. A tile load takes 16 groups; the slack,
// zero bytes where k_groups is no multiple of 16, keeps the last one inside the buffer.
#pragma once
#include <cstdint>

#include "kernels/gemm_s8/kernel.h"
#include "weights/formats.h"
#include "weights/weight.h"

namespace octavo {

class DenseWeight final : public Weight {
 public:
  // b(k, n) = data[k * k_stride + n * n_stride] ^ flip; flip = 0x80 turns uint8 codes into int8
  // ones, less 128. Orders take most of the time to pack and pay for thousands of rows only: a
  // product that packs for itself goes without.
  enum class Orders : bool { kWithout, kWith };
  DenseWeight(const std::uint8_t* data, std::int64_t k, std::int64_t n, std::int64_t k_stride,
              std::int64_t n_stride, std::uint8_t flip, Orders orders = Orders::kWith);

  // Codes (n, k) row-major.
  DenseWeight(const std::int8_t* codes, std::int64_t n, std::int64_t k)
      : DenseWeight(reinterpret_cast<const std::uint8_t*>(codes), k, n, 1, k, 0) {}
  // Bytes of a weight with orders.
  DenseWeight(AlignedBuffer packed, std::int64_t n, std::int64_t k);
  static FormatCost cost(const std::int8_t* codes, std::int64_t n, std::int64_t k, IsaMask mask);

  std::int64_t panel_stride() const { return checked_mul(k_groups(), kPanelWidth * kGroup); }
  const std::int8_t* panel(std::int64_t p) const { return at<std::int8_t>(p * panel_stride()); }
  const std::int32_t* col_sum() const override { return at<std::int32_t>(code_bytes()); }
  // Of panels p and p + 1 (p even), for each block of 64 groups, the order that pairs small weights
  // (GroupOrder); null where there are none.
  const GroupOrder* orders(std::int64_t p) const {
    if (packed_.size() == static_cast<std::size_t>(orders_begin())) return nullptr;
    return at<GroupOrder>(orders_begin()) + p / 2 * orders_stride();
  }
  std::int64_t order_count() const { return (panels() + 1) / 2 * orders_stride(); }
  std::int64_t orders_stride() const { return ceil_div(k_groups(), GroupOrder::kGroups); }
  std::int64_t code_bytes() const {
    return checked_add(checked_mul(panels(), panel_stride()), slack_bytes());
  }

  // The codes less the flip.
  void unpack(std::int8_t* out) const override;

  Schedule schedule(std::int64_t m, IsaMask mask) const override;
  void multiply(const Schedule& schedule, const CodeBlock& block, std::int64_t rows, std::int64_t p,
                std::int64_t panels, std::int32_t* sums, std::int64_t stride) const override;

 private:
  std::int64_t slack_bytes() const { return n() == 0 ? 0 : (16 - k_groups() % 16) % 16 * 64; }
  std::int64_t orders_begin() const {
    return checked_add(code_bytes(), checked_mul(n(), sizeof(std::int32_t)));
  }
  std::int64_t end(Orders orders) const {
    const std::int64_t count = orders == Orders::kWith ? order_count() : 0;
    return checked_add(orders_begin(), checked_mul(count, sizeof(GroupOrder)));
  }
  void pack_panel(const std::uint8_t* data, std::int64_t p, std::int64_t k_stride,
                  std::int64_t n_stride, std::uint8_t flip);
  void order_groups(std::int64_t p);  // of panels p and p + 1
};

}  // namespace octavo
