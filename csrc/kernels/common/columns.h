// SPDX-License-Identifier: Apache-2.0
// What a row of kernels.inc says beside its tier and its symbol. A family whose rows say more
// specializes KernelColumns in its kernel.h.
#pragma once

namespace octavo {

struct PlainColumns {
  static constexpr int mr = 1;       // rows of a block
  static constexpr int m_align = 1;  // rows that operands are padded to
  static constexpr int min_m = 1;    // fewest rows it is meant for

  // Whether the kernel is meant for a problem; families whose choice depends on one hide this.
  bool fits() const { return true; }
};

template <class Args>
struct KernelColumns : PlainColumns {};

// The columns, the tier and the symbol (dispatch/registry.h).
template <class Args>
struct KernelRow;

}  // namespace octavo
