// SPDX-License-Identifier: Apache-2.0
// What every weight of codes is to the driver (ops/gemm_driver): a matrix of n outputs by k inputs
// that rows of codes are multiplied with, panel by panel. How it is held, and by which kernels it
// is read, is its own business; weights/formats.inc lists the ways for int8, weights/int4.h is
// another.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <utility>

#include "dispatch/registry.h"
#include "memory/aligned_buffer.h"
#include "memory/sizes.h"

namespace octavo {

// Codes of a row in scratch, zeros behind k included.
inline std::int64_t padded_k(std::int64_t k) { return round_up(std::max<std::int64_t>(k, 1), 64); }

// Codes of a stretch of rows in scratch, in the form of the chosen kernel (ActivationEncoding::kS8
// while they are filled, where that is kS8Eights).
struct CodeBlock {
  ActivationEncoding form;
  std::int64_t stride;      // bytes from row to row
  std::int64_t abs_offset;  // of the |code| plane of ActivationEncoding::kSignAbs
  std::uint8_t* codes;
  float* row_scale;           // of each row; of each row in group 0, then in group 1, ...
  std::int64_t scale_stride;  // from group to group
  std::int32_t* zero_point;   // in the form's domain: signed, plus 128 for ActivationEncoding::kU8
  std::uint8_t* tile;         // Schedule::tile_bytes of its own
  std::uint8_t* scratch;      // Schedule::scratch_bytes of the thread that multiplies
};

// How a weight wants to meet a number of rows: what the driver must know of the kernels.
struct Schedule {
  std::int64_t rows;               // of the whole product
  IsaMask mask;                    // the kernels that may be used
  std::int64_t work;               // multiply-adds per row
  ActivationEncoding form;         // of the codes
  std::int64_t row_unit;           // blocks of rows are cut and padded to it
  std::int64_t block_rows;         // most rows that read the weight together
  std::int64_t panels_at_once;     // most panels per call of multiply()
  std::int64_t fill_unit = 1;      // parts of a block that threads fill are cut to it
  std::int64_t tile_bytes = 0;     // of a block, for prepare()
  std::int64_t scratch_bytes = 0;  // of a thread, for multiply(): stacks may be small
  bool even_blocks = true;         // 100 rows on two threads: 2 x 52, not 64 + 36
  std::int64_t groups = 1;         // of inputs that share a scale, in a row (Weight::group)
  int prepared_for = 0;            // tiles are the same where this is; 0: they are this weight's
};

// Immutable and safe to read from many threads. All that it holds lies in one stretch of bytes,
// which another process may have packed: what is made of such bytes has checked them so far that no
// call reads or writes beside them, whatever they hold.
class Weight {
 public:
  // Columns of a panel: sums come in whole panels.
  static constexpr int kPanelWidth = 16;
  // Inputs that share a scale at most, where they come in groups.
  static constexpr int kMostGroup = 128;
  // Neighbours along k that one dot product adds up.
  static constexpr int kGroup = 4;

  virtual ~Weight() = default;

  std::int64_t n() const { return n_; }
  std::int64_t k() const { return k_; }
  std::int64_t panels() const { return ceil_div(n_, kPanelWidth); }
  std::int64_t k_groups() const { return ceil_div(k_, kGroup); }
  // Its bytes, as the format's header draws them.
  const AlignedBuffer& packed() const { return packed_; }
  std::size_t nbytes() const { return packed_.size(); }
  // Inputs that share a scale, on both sides; 0: all of a row. Where they come in groups, codes are
  // symmetric (ActivationEncoding::kS8) and sums are float32, scaled already.
  virtual std::int64_t group() const { return 0; }
  // Which input each column of codes is multiplied with; null: they come as they are.
  virtual const std::int32_t* order() const { return nullptr; }
  // One int32 (modulo 2^32) per output; null where inputs come in groups.
  virtual const std::int32_t* col_sum() const = 0;
  // Row-major (n, k) codes, as given to the constructor.
  virtual void unpack(std::int8_t* out) const = 0;

  // For m rows and the kernels of a mask.
  virtual Schedule schedule(std::int64_t m, IsaMask mask) const = 0;

  // Called when rows [begin, end) of a block, which will have `rows`, are filled; from several
  // threads, each with its own rows.
  virtual void prepare(const Schedule&, const CodeBlock&, std::int64_t /*rows*/,
                       std::int64_t /*begin*/, std::int64_t /*end*/) const {}

  // sums (rows padded to row_unit, whole panels) = codes of a block x panels [p, p + panels):
  // int32, or float32 in the same memory.
  virtual void multiply(const Schedule& schedule, const CodeBlock& block, std::int64_t rows,
                        std::int64_t p, std::int64_t panels, std::int32_t* sums,
                        std::int64_t stride) const = 0;

 protected:
  Weight(std::int64_t n, std::int64_t k, AlignedBuffer packed = {})
      : packed_(std::move(packed)), n_(n), k_(k) {}
  Weight(Weight&&) = default;

  template <class T>
  T* at(std::int64_t offset) const {
    return reinterpret_cast<T*>(packed_.as<std::uint8_t>() + offset);
  }
  // For bytes that came from elsewhere.
  static void require(bool fits, const char* expected) {
    if (!fits) throw std::invalid_argument(expected);
  }

  AlignedBuffer packed_;  // one, so that large weights get huge pages

 private:
  std::int64_t n_, k_;
};

}  // namespace octavo
