// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <pybind11/pybind11.h>

#include <string>

#include "kernels/epilogue/kernel.h"

namespace octavo {

struct NamedActivation {
  const char* name;
  Activation value;
};
inline constexpr NamedActivation kActivations[] = {
    {"none", Activation::kNone},          {"relu", Activation::kRelu}, {"gelu", Activation::kGelu},
    {"gelu_tanh", Activation::kGeluTanh}, {"silu", Activation::kSilu}, {"tanh", Activation::kTanh},
};

inline Activation activation_from(const std::string& name) {
  for (const NamedActivation& a : kActivations) {
    if (name == a.name) return a.value;
  }
  throw pybind11::value_error("activation: unknown name '" + name + "'");
}

inline const char* activation_name(Activation value) {
  for (const NamedActivation& a : kActivations) {
    if (value == a.value) return a.name;
  }
  return "none";
}

}  // namespace octavo
