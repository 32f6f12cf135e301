// SPDX-License-Identifier: Apache-2.0
// Activations by number, over sixteen lanes; include after lanes16_*.h.
#pragma once
#include "kernels/common/math16.h"
#include "kernels/epilogue/kernel.h"

namespace octavo {
namespace {

template <Activation A>
static inline F16 activate(F16 y) {
  switch (A) {
    case Activation::kNone: return y;
    case Activation::kRelu: return max(set1(0.0f), y);  // second operand: NaN stays
    case Activation::kGelu: return gelu_erf16(y);
    case Activation::kGeluTanh: return gelu_tanh16(y);
    case Activation::kSilu: return silu16(y);
    case Activation::kTanh: return tanh16(y);
  }
  return y;
}

// Calls Run<A>::run(args) for the activation chosen at run time.
template <template <Activation> class Run, class Args>
static inline void with_activation(Activation activation, const Args& args) {
  switch (activation) {
    case Activation::kNone: return Run<Activation::kNone>::run(args);
    case Activation::kRelu: return Run<Activation::kRelu>::run(args);
    case Activation::kGelu: return Run<Activation::kGelu>::run(args);
    case Activation::kGeluTanh: return Run<Activation::kGeluTanh>::run(args);
    case Activation::kSilu: return Run<Activation::kSilu>::run(args);
    case Activation::kTanh: return Run<Activation::kTanh>::run(args);
  }
}

}  // namespace
}  // namespace octavo
