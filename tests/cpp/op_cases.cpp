// SPDX-License-Identifier: Apache-2.0
#include "op_cases.h"

#include <algorithm>

#include "check.h"
#include "ops/attention_s8.h"
#include "ops/conv.h"
#include "ops/float_rows.h"
#include "ops/linear_f32.h"
#include "ops/program.h"
#include "ops/window_steps.h"

namespace octavo_test {

using namespace octavo;

namespace {

using Floats = std::vector<float>;

Floats random_floats(std::int64_t count) {
  Random random(7);
  Floats values(static_cast<std::size_t>(count));
  for (float& value : values) value = random.real(3.0f);
  return values;
}

std::shared_ptr<Floats> shared_floats(std::int64_t count) {
  return std::make_shared<Floats>(random_floats(count));
}

std::string shape(std::int64_t a, std::int64_t b) {
  return std::to_string(a) + "x" + std::to_string(b);
}

}  // namespace

std::shared_ptr<const LinearLayer> int8_layer(std::int64_t n, std::int64_t k) {
  Random random(99);
  std::vector<std::int8_t> codes(static_cast<std::size_t>(n * k));
  for (std::int8_t& code : codes) code = static_cast<std::int8_t>(random.between(-127, 127));
  const Floats scale(static_cast<std::size_t>(n), 0.0005f);
  LinearOptions options;
  options.activation = n > k ? Activation::kGelu : Activation::kNone;
  return std::make_shared<Linear>(codes.data(), n, k, scale.data(), scale.data(), options);
}

std::shared_ptr<const LinearLayer> float_layer(std::int64_t n, std::int64_t k) {
  const auto panels = std::make_shared<PanelsF32>(random_floats(n * k).data(), n, k);
  return std::make_shared<LinearF32>(panels, nullptr, Activation::kNone, nullptr);
}

OpCase linear_case(std::int64_t m, const std::shared_ptr<const LinearLayer>& layer) {
  const std::int64_t n = layer->n(), k = layer->k();
  const char* kind = dynamic_cast<const Linear*>(layer.get()) ? "int8 " : "float32 ";
  const auto x = shared_floats(m * k), out = shared_floats(m * n);
  return {kind + std::to_string(m) + "x" + shape(n, k), out,
          [=] { layer->run(m, {x->data(), k}, {}, {out->data(), n}); }};
}

OpCase attention_case(bool int8, std::int64_t batch, std::int64_t tokens) {
  const AttentionShape heads = {batch, tokens, tokens, 12, 32};
  const std::int64_t width = 12 * 32;
  const auto x = shared_floats(batch * tokens * width), out = shared_floats(batch * tokens * width);
  const auto run = [=] {
    const TokenRows rows = {x->data(), tokens * width, width};
    if (int8) {
      attention_s8({heads, 12}, rows, rows, rows, {}, 0.18f, out->data());
    } else {
      attention(heads, rows, rows, rows, nullptr, {nullptr, 0, 0}, 0.18f, out->data());
    }
  };
  return {(int8 ? "int8 attention " : "attention ") + shape(batch, tokens), out, run};
}

OpCase norm_case(std::int64_t m, std::int64_t n) {
  const auto x = shared_floats(m * n), out = shared_floats(m * n);
  return {"layer norm " + shape(m, n), out,
          [=] { layer_norm(m, n, {x->data(), n}, nullptr, nullptr, 1e-5f, {}, {out->data(), n}); }};
}

OpCase model_case(const std::string& name, int blocks, const std::vector<std::int64_t>& lengths) {
  constexpr std::int64_t kWidth = 384, kInner = 1536, kNone = Program::kNone;
  static const Floats ones(kWidth, 1.0f);
  const auto program = std::make_shared<Program>(kWidth);
  const auto add = [&](std::int64_t n, std::int64_t k, Program::Value x, Program::Value residual) {
    return program->add_linear(int8_layer(n, k), x, kNone, residual);
  };
  Program::Value x = Program::kInput;
  for (int block = 0; block < blocks; ++block) {
    const auto q = add(kWidth, kWidth, x, kNone), k = add(kWidth, kWidth, x, kNone);
    const auto v = add(kWidth, kWidth, x, kNone);
    const auto heads = program->add_attention({12, 0.18f, true, false}, q, k, v);
    const auto mixed = add(kWidth, kWidth, heads, x);
    const auto norm = program->add_layer_norm({ones.data(), nullptr, 1e-5f}, kWidth, mixed, kNone);
    const auto inner = add(kInner, kWidth, norm, kNone), outer = add(kWidth, kInner, inner, norm);
    x = program->add_layer_norm({ones.data(), nullptr, 1e-5f}, kWidth, outer, kNone);
  }
  program->finish(x);
  std::vector<std::int64_t> offsets = {0};
  for (const std::int64_t length : lengths) offsets.push_back(offsets.back() + length);
  const auto in = shared_floats(offsets.back() * kWidth),
             out = shared_floats(offsets.back() * kWidth);
  const auto count = static_cast<std::int64_t>(lengths.size());
  return {"model " + name, out,
          [=] { program->run({offsets.data(), count}, in->data(), out->data()); }};
}

OpCase graph_case(std::int64_t side) {
  constexpr std::int64_t kChannels = 20;
  const std::int64_t pixels = side * side, floats = pixels * kChannels;
  const std::int64_t tensor = (floats * 4 + 63) / 64 * 64;
  const Windows windows = {1, side, side, kChannels, side, side, 3, 3, 1, 1, 1, 1, 1, 1};
  const auto program = std::make_shared<GraphProgram>(4 * tensor);
  const auto place = [&](std::int64_t at, std::int64_t item) {
    return program->tensor("x", at * tensor, floats, item);
  };
  const Floats weight = random_floats(kChannels * 9 * kChannels);
  std::vector<std::int8_t> codes(weight.size());
  std::transform(weight.begin(), weight.end(), codes.begin(),
                 [](float value) { return static_cast<std::int8_t>(value * 40); });
  const Floats scale(kChannels, 0.002f);
  const CodeRange range = {-120.0f, 100.0f, 5};
  const CodeParameters parameters = {0.03f, 5};
  program->add(conv_f32({windows, place(0, 4), place(1, 4)}, {weight.data(), kChannels, 1}, nullptr,
                        {0.0f, 6.0f}));
  program->add(conv_dynamic({windows, place(1, 4), place(2, 4)}, {codes.data(), kChannels, 1},
                            scale.data(), nullptr, {}));
  program->add(quantize_step(place(2, 4), place(3, 1), parameters));
  program->add(conv_s8({windows, place(3, 1), place(1, 1)}, {codes.data(), kChannels, 1}, nullptr,
                       scale.data(), 5, range));
  program->add(depthwise_s8({windows, place(1, 1), place(2, 1)}, codes.data(), kChannels, nullptr,
                            scale.data(), 5, range));
  program->add(average_pool_s8({windows, place(2, 1), place(1, 1)}, 0.03, 0.02, 5, range));
  program->add(dequantize_step(place(1, 1), place(3, 4), parameters));
  const auto arena = std::make_shared<AlignedBuffer>(static_cast<std::size_t>(4 * tensor));
  const auto x = shared_floats(floats), out = shared_floats(floats);
  return {"graph of " + shape(side, side), out, [=] {
            std::copy(x->begin(), x->end(), arena->as<float>());
            program->run(arena->as<std::uint8_t>());
            const float* result = arena->as<float>() + 3 * tensor / 4;
            std::copy(result, result + floats, out->begin());
          }};
}

}  // namespace octavo_test
