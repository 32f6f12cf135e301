// SPDX-License-Identifier: Apache-2.0
#include "weights/formats.h"

#include <utility>

#include "weights/bitmap.h"
#include "weights/bsr.h"
#include "weights/dense.h"
#include "weights/windowed.h"

namespace octavo {
namespace {

// The largest k whose sums of (code - zero_point) * weight fit int32: 255 * 128 * k < 2^31.
constexpr std::int64_t kMostInputs = 65793;
// Windows and the indexes of bsr4x1 and bsr1x1 have 16 bits; the others have the same bound.
constexpr std::int64_t kMostSparseInputs = 65536;

template <class Type>
std::unique_ptr<Weight> pack(const std::int8_t* codes, std::int64_t n, std::int64_t k) {
  return std::make_unique<Type>(codes, n, k);
}

template <class Type>
std::unique_ptr<Weight> attach(AlignedBuffer packed, std::int64_t n, std::int64_t k) {
  return std::make_unique<Type>(std::move(packed), n, k);
}

}  // namespace

const std::vector<WeightFormat>& weight_formats() {
#define OCTAVO_WEIGHT_FORMAT(name, type, most) \
  {name, most, &pack<type>, &attach<type>, &type::cost},
  // Never destroyed: other threads may compute while the process leaves.
  static const auto& formats = *new std::vector<WeightFormat>{
#include "weights/formats.inc"
  };
  return formats;
}

const WeightFormat* find_weight_format(const std::string& name) {
  for (const WeightFormat& format : weight_formats()) {
    if (name == format.name) return &format;
  }
  return nullptr;
}

}  // namespace octavo
