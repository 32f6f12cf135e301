// SPDX-License-Identifier: Apache-2.0
// Sixteen floats or the first n of them; include after lanes16_*.h.
#pragma once

namespace {

static inline F16 load_some(const float* p, int n) { return n == 16 ? load(p) : load_n(p, n); }
static inline void store_some(float* p, F16 a, int n) {
  if (n == 16) {
    store(p, a);
  } else {
    store_n(p, a, n);
  }
}

}  // namespace
