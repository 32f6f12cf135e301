// SPDX-License-Identifier: Apache-2.0
// The kernel lists of all families and the pure choice among their rows. A family's folder says all
// there is to know of it here: kernel.h its arguments and columns, kernels.inc its rows.
#pragma once
#include <string>
#include <vector>

#include "dispatch/isa.h"
#include "kernels/all.h"  // made by CMake: every family's kernel.h
#include "kernels/common/columns.h"

namespace octavo {

template <class Args>
struct KernelRow : KernelColumns<Args> {
  Isa isa;
  const char* name;
  void (*run)(const Args&) noexcept;
};

// All rows of a family that are compiled in, best first. The last one is scalar and fits anything.
template <class Args>
const std::vector<KernelRow<Args>>& kernel_rows();

// The first row whose tier is in the mask and that fits the problem; the last one where none does.
template <class Args, class... Problem>
const KernelRow<Args>& first_fitting(const std::vector<KernelRow<Args>>& rows, IsaMask mask,
                                     const Problem&... problem) noexcept {
  for (const KernelRow<Args>& row : rows) {
    if ((mask & bit(row.isa)) && row.fits(problem...)) return row;
  }
  return rows.back();
}

// The kernel of a family for a problem: what the family's columns ask for, if anything.
template <class Args, class... Problem>
const KernelRow<Args>& select(IsaMask mask, const Problem&... problem) noexcept {
  return first_fitting(kernel_rows<Args>(), mask, problem...);
}

template <class Args, class Partner>
struct KernelPair {
  const KernelRow<Args>& kernel;
  const KernelRow<Partner>& partner;
};

// The first row that has a partner, both of tiers in the mask; the last ones where none has.
template <class Args, class Partner>
KernelPair<Args, Partner> first_pair(const std::vector<KernelRow<Args>>& rows,
                                     const std::vector<KernelRow<Partner>>& partners,
                                     IsaMask mask) noexcept {
  for (const KernelRow<Args>& row : rows) {
    for (const KernelRow<Partner>& partner : partners) {
      if ((mask & bit(row.isa)) && (mask & bit(partner.isa)) && partner.reads_codes_of(row)) {
        return {row, partner};
      }
    }
  }
  return {rows.back(), partners.back()};
}

// The kernels of two families that are given the same codes.
template <class Args, class Partner>
KernelPair<Args, Partner> select_pair(IsaMask mask) noexcept {
  return first_pair(kernel_rows<Args>(), kernel_rows<Partner>(), mask);
}

// One line per row for tests, `octavo info` and the benchmark.
struct KernelInfo {
  std::string family;
  std::string name;
  Isa isa;
  int mr;
  int m_align;
  int min_m;
};
std::vector<KernelInfo> list_kernels();

}  // namespace octavo
