// SPDX-License-Identifier: Apache-2.0
#include "ops/matmul.h"

#include <cstring>
#include <optional>
#include <vector>

#include "ops/code_rows.h"
#include "ops/gemm_driver.h"
#include "threads/interrupt.h"

namespace octavo {
namespace {

constexpr std::uint8_t kFlip = 0x80;

class MatrixRows final : public RowSource {
 public:
  MatrixRows(const CodeMatrix& a, std::int64_t k, const ZeroPoints& zero_point,
             std::vector<std::int32_t>* row_sum)
      : a_(a), k_(k), zero_point_(zero_point), row_sum_(row_sum) {}

  void fill(std::int64_t m0, std::int64_t rows, const CodeBlock& block) const override {
    copy_codes(a_.data + m0 * a_.row_stride, a_.row_stride, a_.column_stride,
               a_.is_unsigned ? kFlip : 0, rows, k_, block);
    // The block's codes are those of a, less 128 where a is unsigned, plus 128 for
    // ActivationEncoding::kU8.
    const std::int32_t shift =
        (block.form == ActivationEncoding::kU8 ? 128 : 0) - (a_.is_unsigned ? 128 : 0);
    for (std::int64_t r = 0; r < rows; ++r) {
      block.zero_point[r] = wrapping_add(zero_point_.at(m0 + r), shift);
      block.row_scale[r] = 1.0f;
      if (row_sum_ != nullptr) (*row_sum_)[m0 + r] = centred_sum(m0 + r);
    }
  }

 private:
  // sum over k of (a - a_zero_point), modulo 2^32.
  std::int32_t centred_sum(std::int64_t m) const {
    const std::uint8_t* codes = a_.data + m * a_.row_stride;
    std::uint32_t sum = 0;
    for (std::int64_t i = 0; i < k_; ++i) {
      const std::uint8_t code = codes[i * a_.column_stride];
      sum += static_cast<std::uint32_t>(a_.is_unsigned ? code : static_cast<std::int8_t>(code));
    }
    sum -= static_cast<std::uint32_t>(k_) * static_cast<std::uint32_t>(zero_point_.at(m));
    return static_cast<std::int32_t>(sum);
  }

  const CodeMatrix& a_;
  std::int64_t k_;
  const ZeroPoints& zero_point_;
  std::vector<std::int32_t>* row_sum_;
};

// out = sums - factor * column, modulo 2^32; out may be sums. Sixteen at a time in an array, of
// which compilers make vectors at -O2.
void subtract(const std::int32_t* sums, const std::int32_t* column, std::uint32_t factor,
              std::int64_t n, std::int32_t* out) {
  constexpr std::int64_t kSome = 16;
  std::int64_t i = 0;
  for (; i + kSome <= n; i += kSome) {
    std::uint32_t some[kSome];
    for (std::int64_t j = 0; j < kSome; ++j) {
      some[j] = static_cast<std::uint32_t>(sums[i + j]) -
                factor * static_cast<std::uint32_t>(column[i + j]);
    }
    std::memcpy(out + i, some, sizeof some);
  }
  for (; i < n; ++i) {
    out[i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(sums[i]) -
                                       factor * static_cast<std::uint32_t>(column[i]));
  }
}

// out = acc - a_zero_point * col_sum - b_zero_point * sum(a - a_zero_point)
class IntegerSink final : public SumSink {
 public:
  IntegerSink(const DenseWeight& b, const std::vector<std::int32_t>* row_sum,
              const std::vector<std::int32_t>& b_zero_point, std::int32_t* out)
      : b_(b), row_sum_(row_sum), b_zero_point_(b_zero_point), out_(out) {}

  void take(const SumBlock& block) const override {
    const std::int32_t* col_sum = b_.col_sum() + block.n0;
    for (std::int64_t r = 0; r < block.rows; ++r) {
      const auto zero_point = static_cast<std::uint32_t>(block.row_params->zero_point[r]);
      const std::int32_t* sums = block.sums + r * block.stride;
      std::int32_t* out = out_ + (block.m0 + r) * b_.n() + block.n0;
      if (zero_point == 0) {
        std::memcpy(out, sums, static_cast<std::size_t>(block.columns) * sizeof *out);
      } else {
        subtract(sums, col_sum, zero_point, block.columns, out);
      }
      if (row_sum_ == nullptr) continue;
      const auto row_sum = static_cast<std::uint32_t>((*row_sum_)[block.m0 + r]);
      subtract(out, b_zero_point_.data() + block.n0, row_sum, block.columns, out);
    }
  }

 private:
  const DenseWeight& b_;
  const std::vector<std::int32_t>* row_sum_;
  const std::vector<std::int32_t>& b_zero_point_;
  std::int32_t* out_;
};

}  // namespace

void matmul_int8(std::int64_t batch, std::int64_t m, std::int64_t k, std::int64_t n, CodeMatrix a,
                 std::int64_t a_step, CodeMatrix b, std::int64_t b_step, ZeroPoints a_zero_point,
                 ZeroPoints b_zero_point, std::int32_t* out) {
  if (batch == 0 || m == 0 || n == 0) return;
  // Packed codes of b are b, less 128 where it is unsigned; its zero point follows.
  const std::int32_t b_shift = b.is_unsigned ? 128 : 0;
  std::vector<std::int32_t> b_zero(static_cast<std::size_t>(n));
  bool b_centred = true;
  for (std::int64_t i = 0; i < n; ++i) {
    b_zero[i] = wrapping_add(b_zero_point.at(i), -b_shift);
    b_centred = b_centred && b_zero[i] == 0;
  }
  std::vector<std::int32_t> row_sum(b_centred ? 0 : static_cast<std::size_t>(m));
  std::optional<DenseWeight> packed;
  for (std::int64_t i = 0; i < batch; ++i) {
    if (i > 0) interruption_point();
    if (!packed || b_step != 0) {
      packed.emplace(b.data + i * b_step, k, n, b.row_stride, b.column_stride,
                     b.is_unsigned ? kFlip : std::uint8_t{0}, DenseWeight::Orders::kWithout);
    }
    const CodeMatrix rows = {a.data + i * a_step, a.row_stride, a.column_stride, a.is_unsigned};
    std::vector<std::int32_t>* sums = b_centred ? nullptr : &row_sum;
    run_gemm(m, *packed, MatrixRows(rows, k, a_zero_point, sums),
             IntegerSink(*packed, sums, b_zero, out + i * m * n));
  }
}

void matmul_packed(std::int64_t m, CodeMatrix a, const DenseWeight& b, std::int32_t* out) {
  run_gemm(m, b, MatrixRows(a, b.k(), {}, nullptr), IntegerSink(b, nullptr, {}, out));
}

}  // namespace octavo
