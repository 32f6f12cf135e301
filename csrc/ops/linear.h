// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <optional>
#include <variant>

#include "kernels/epilogue/kernel.h"
#include "layout/packed_b.h"
#include "layout/packed_bitmap.h"
#include "layout/packed_blocks.h"
#include "layout/packed_quads.h"
#include "layout/packed_slots.h"
#include "layout/packed_strips.h"

namespace octavo {

// How the weight is held: every code, or the non-zero ones, in slots with windows of 16 or 64 or
// behind a bitmap, or the blocks of 16 x 4, the quads or the strips that are not zero, or for
// each output its non-zero codes and their places. The results have the same bits.
enum class WeightFormat : std::uint8_t {
  kDense,
  kSlots16,
  kSlots64,
  kBitmap,
  kBlocks,
  kQuads,
  kStrips,
  kCsr
};

// Of one of the two formats with slots.
inline SlotIndex slot_index(WeightFormat format) {
  return format == WeightFormat::kSlots16 ? SlotIndex::kNarrow : SlotIndex::kWide;
}

// How a Linear reads its input and writes its output.
struct LinearOptions {
  Activation activation = Activation::kNone;
  bool symmetric = false;            // dynamic input codes without a zero point
  std::optional<float> input_scale;  // static input codes
  std::int32_t input_zero_point = 0;
  std::optional<float> output_scale;  // int8 output
  std::int32_t output_zero_point = 0;
};

// A rectangle with unit stride along rows.
template <class T>
struct Rows {
  T* data = nullptr;
  std::int64_t stride = 0;  // elements
};

// What is added to a product: `before` the activation, `after` it; either may have no data.
struct Added {
  Rows<const float> before;
  Rows<const float> after;
};

// y = activation(x @ w.T + bias + before) + after with int8 weights, one scale per output.
// Immutable and safe to run from many threads.
class Linear {
 public:
  // The largest k whose sums of (code - zero_point) * weight fit int32: 255 * 127 * k < 2^31.
  static constexpr std::int64_t kMaxK = 66311;

  // codes: (n, k) row-major, all above -128. scale: n values. bias: n values or null. Slots take k
  // up to PackedSlots::kMaxK. multiplier: k values by which x is multiplied first, or null.
  Linear(const std::int8_t* codes, std::int64_t n, std::int64_t k, const float* scale,
         const float* bias, const LinearOptions& options,
         WeightFormat format = WeightFormat::kDense, const float* multiplier = nullptr);

  // x: (m, k) float32; out: (m, n) float32, or int8 with output_scale.
  void run(std::int64_t m, Rows<const float> x, const Added& added, Rows<void> out) const;

  // The same from codes that are already there, with a scale and a zero point per row; what they
  // stand for has been multiplied already.
  void run_codes(std::int64_t m, Rows<const std::int8_t> codes, const float* row_scale,
                 const std::int32_t* zero_point, const Added& added, Rows<void> out) const;

  std::int64_t n() const;
  std::int64_t k() const;
  // Null where the weight is sparse.
  const PackedB* dense() const { return std::get_if<PackedB>(&weight_); }
  WeightFormat format() const;
  // One int32 (modulo 2^32) per output.
  const std::int32_t* col_sum() const;
  // Row-major (n, k) codes, as given to the constructor.
  void unpack(std::int8_t* out) const;
  const float* scale() const { return scale_.as<float>(); }
  const float* bias() const { return has_bias_ ? bias_.as<float>() : nullptr; }
  const float* multiplier() const {
    return multiplier_.size() == 0 ? nullptr : multiplier_.as<float>();
  }
  const LinearOptions& options() const { return options_; }
  std::size_t nbytes() const;

 private:
  std::variant<PackedB, PackedSlots, PackedBitmap, PackedBlocks, PackedQuads, PackedStrips> weight_;
  AlignedBuffer scale_;
  AlignedBuffer bias_;
  AlignedBuffer multiplier_;
  bool has_bias_;
  LinearOptions options_;
};

}  // namespace octavo
