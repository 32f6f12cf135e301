// SPDX-License-Identifier: Apache-2.0
#include "dispatch/registry.h"

namespace octavo {

#define OCTAVO_KERNEL(Type, tier, symbol, ...) void symbol(const Type##Args&) noexcept;
#include "dispatch/families.inc"

namespace {

// clang-format off
#define OCTAVO_FAMILY(folder, Type) \
  std::vector<KernelRow<Type##Args>> rows_for(const Type##Args*) { return {
#define OCTAVO_KERNEL(Type, tier, symbol, ...) {{{}, __VA_ARGS__}, Isa::tier, #symbol, symbol},
#define OCTAVO_FAMILY_END }; }
#include "dispatch/families.inc"
// clang-format on

template <class Args>
void append(std::vector<KernelInfo>& out, const char* family) {
  for (const KernelRow<Args>& row : kernel_rows<Args>()) {
    out.push_back({family, row.name, row.isa, row.mr, row.m_align, row.min_m});
  }
}

}  // namespace

template <class Args>
const std::vector<KernelRow<Args>>& kernel_rows() {
  // Never destroyed: other threads may compute while the process leaves.
  static const auto& rows =
      *new std::vector<KernelRow<Args>>(rows_for(static_cast<const Args*>(nullptr)));
  return rows;
}
#define OCTAVO_FAMILY(folder, Type) \
  template const std::vector<KernelRow<Type##Args>>& kernel_rows<Type##Args>();
#include "dispatch/families.inc"

std::vector<KernelInfo> list_kernels() {
  std::vector<KernelInfo> out;
#define OCTAVO_FAMILY(folder, Type) append<Type##Args>(out, #folder);
#include "dispatch/families.inc"
  return out;
}

}  // namespace octavo
