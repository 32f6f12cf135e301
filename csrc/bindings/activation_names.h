// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>

#include "bindings/names.h"
#include "kernels/epilogue/kernel.h"

namespace octavo {

inline constexpr Named<Activation> kActivations[] = {
    {"none", Activation::kNone},          {"relu", Activation::kRelu}, {"gelu", Activation::kGelu},
    {"gelu_tanh", Activation::kGeluTanh}, {"silu", Activation::kSilu}, {"tanh", Activation::kTanh},
};

inline Activation activation_from(const std::string& name) {
  return value_named(kActivations, name, "activation");
}

inline const char* activation_name(Activation value) { return name_of(kActivations, value); }

}  // namespace octavo
