// SPDX-License-Identifier: Apache-2.0
// A layer that holds its weight in a sparse format, against the dense one.
#pragma once
#include <initializer_list>
#include <string>
#include <vector>

#include "check.h"
#include "ops/linear.h"
#include "sparse_weight.h"
#include "tiers.h"

namespace octavo_test {

// One layer in both formats on the tier that is forced: the same bits.
inline void check_layer(const std::string& format, const std::string& tier, std::int64_t m,
                        const Matrix& w, Random& random) {
  std::vector<float> scale(static_cast<std::size_t>(w.n), 0.01f);
  std::vector<float> x(static_cast<std::size_t>(m * w.k));
  for (float& value : x) value = random.real(2.0f);
  const auto run = [&](const octavo::WeightFormat& as) {
    const octavo::Linear layer(w.codes.data(), w.n, w.k, scale.data(), nullptr, {}, as);
    check(std::string(layer.format()) == as.name, "its format");
    std::vector<float> y(static_cast<std::size_t>(m * w.n), -1.0f);
    layer.run(m, {x.data(), w.k}, {}, {y.data(), w.n});
    return y;
  };
  check_same(run(*octavo::find_weight_format(format)).data(),
             run(octavo::weight_formats().front()).data(), m * w.n,
             "sparse layer on " + tier + " n=" + std::to_string(w.n) + " k=" + std::to_string(w.k) +
                 " m=" + std::to_string(m));
}

// The same on every tier, for numbers of rows and kinds of zeros, and without inputs.
inline void check_layers(std::initializer_list<const char*> formats,
                         std::initializer_list<std::int64_t> rows,
                         std::initializer_list<Pattern> patterns, std::int64_t k, Random& random) {
  for_each_tier([&](const std::string& tier) {
    for (const std::int64_t m : rows) {
      for (const Pattern pattern : patterns) {
        const Matrix w = make_weight(150, k, pattern, random);
        for (const char* format : formats) check_layer(format, tier, m, w, random);
      }
      const Matrix none = make_weight(33, 0, Pattern::kRandom, random);
      for (const char* format : formats) check_layer(format, tier, m, none, random);
    }
  });
}

}  // namespace octavo_test
