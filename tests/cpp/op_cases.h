// SPDX-License-Identifier: Apache-2.0
// Operations and blocks of a model on made-up data, ready to run.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ops/linear.h"

namespace octavo_test {

struct OpCase {
  std::string name;
  std::shared_ptr<std::vector<float>> out;
  std::function<void()> run;
};

// y = x @ w.T with x (m, k) and w (n, k), in int8 or float32.
std::shared_ptr<const octavo::LinearLayer> int8_layer(std::int64_t n, std::int64_t k);
std::shared_ptr<const octavo::LinearLayer> float_layer(std::int64_t n, std::int64_t k);
OpCase linear_case(std::int64_t m, const std::shared_ptr<const octavo::LinearLayer>& layer);

// Twelve heads of 32, over (batch, tokens, 384).
OpCase attention_case(bool int8, std::int64_t batch, std::int64_t tokens);

OpCase norm_case(std::int64_t m, std::int64_t n);

// Blocks as of all-MiniLM-L6-v2, which has six, over sequences of such lengths.
OpCase model_case(const std::string& name, int blocks, const std::vector<std::int64_t>& lengths);

// A graph of a convolution of each kind and a pool, over an image of side x side.
OpCase graph_case(std::int64_t side);

}  // namespace octavo_test
