// SPDX-License-Identifier: Apache-2.0
#include "ops/kv_cache.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "threads/interrupt.h"

namespace octavo {
namespace {

constexpr std::int64_t kPanel = 16;  // rows, or columns of values
constexpr std::int64_t kLeastCapacity = 32;

std::int64_t capacity_for(std::int64_t rows) {
  std::int64_t capacity = kLeastCapacity;
  while (capacity < rows) capacity *= 2;
  return std::min(capacity, kKeysPerBlock);
}

}  // namespace

KvCache::KvCache(std::int64_t layers, std::int64_t kv_heads, std::int64_t d)
    : kv_heads_(kv_heads),
      d_(d),
      d_pad_(round_up(d, kPanel)),
      isas_(active_isas()),
      quantize_(select<AttentionCodesArgs>(isas_)),
      layers_(static_cast<std::size_t>(layers)) {
  key_stride_ = d_pad_ / quantize_.group_codes * kPanel;
  code_bytes_ = 4 / quantize_.group_codes;
}

KvCache::KvCache(const KvCache& other)
    : kv_heads_(other.kv_heads_),
      d_(other.d_),
      d_pad_(other.d_pad_),
      key_stride_(other.key_stride_),
      code_bytes_(other.code_bytes_),
      isas_(other.isas_),
      quantize_(other.quantize_),
      layers_(other.layers_) {
  for (const Layer& layer : layers_) {
    for (const auto& block : layer.blocks) {
      // A flag that is set already may be read by others now.
      if (!block->is_shared) block->is_shared = true;
    }
  }
}

// The memory of a head: codes of keys, of values, scales of both, starts.
std::int64_t KvCache::part_bytes(std::int64_t capacity) const {
  return capacity * (2 * d_pad_ * code_bytes_ + 3 * 4);
}

KvCache::Part KvCache::part_at(std::uint8_t* memory, std::int64_t capacity) const {
  const std::int64_t codes = capacity * d_pad_ * code_bytes_;
  Part made;
  made.keys = reinterpret_cast<std::int32_t*>(memory);
  made.values = reinterpret_cast<std::int32_t*>(memory + codes);
  made.key_scale = reinterpret_cast<float*>(memory + 2 * codes);
  made.value_scale = made.key_scale + capacity;
  made.key_start = reinterpret_cast<std::int32_t*>(made.value_scale + capacity);
  made.value_stride = capacity / quantize_.group_codes * kPanel;
  return made;
}

KvCache::Part KvCache::part(const Block& block, std::int64_t head) const {
  return part_at(block.memory.as<std::uint8_t>() + head * part_bytes(block.capacity),
                 block.capacity);
}

std::shared_ptr<KvCache::Block> KvCache::make_block(std::int64_t capacity) const {
  const auto bytes = static_cast<std::size_t>(checked_mul(kv_heads_, part_bytes(capacity)));
  auto block = std::make_shared<Block>(Block{capacity, AlignedBuffer(bytes)});
  std::memset(block->memory.as<void>(), 0, bytes);
  return block;
}

void KvCache::copy_block(const Block& from, const Block& to) const {
  const std::int64_t rows = std::min(from.capacity, to.capacity);
  for (std::int64_t head = 0; head < kv_heads_; ++head) {
    const Part source = part(from, head), target = part(to, head);
    std::copy_n(source.keys, rows / kPanel * key_stride_, target.keys);
    for (std::int64_t panel = 0; panel < d_pad_ / kPanel; ++panel) {
      std::copy_n(source.values + panel * source.value_stride,
                  rows / quantize_.group_codes * kPanel,
                  target.values + panel * target.value_stride);
    }
    std::copy_n(source.key_scale, rows, target.key_scale);
    std::copy_n(source.value_scale, rows, target.value_scale);
    std::copy_n(source.key_start, rows, target.key_start);
  }
}

// The block that a layer's next row goes into, at `row`: this cache's alone, with room up to `end`.
const KvCache::Block& KvCache::writable(Layer& layer, std::int64_t row, std::int64_t end) const {
  if (row == 0) {
    layer.blocks.push_back(make_block(capacity_for(end)));
  } else if (std::shared_ptr<Block>& last = layer.blocks.back();
             last->is_shared || last->capacity < end) {
    std::shared_ptr<Block> larger = make_block(std::max(last->capacity, capacity_for(end)));
    copy_block(*last, *larger);
    last = std::move(larger);
  }
  return *layer.blocks.back();
}

// Where a code lies (kernels/attention_codes/kernel.h).
char* KvCache::key_slot(const Part& of, std::int64_t row, std::int64_t column) const {
  auto* panel = reinterpret_cast<char*>(of.keys + row / kPanel * key_stride_);
  if (quantize_.key_rows) return panel + row % kPanel * d_pad_ + column;
  const std::int64_t group = column / quantize_.group_codes * kPanel + row % kPanel;
  return panel + 4 * group + column % quantize_.group_codes * code_bytes_;
}

char* KvCache::value_slot(const Part& of, std::int64_t row, std::int64_t column) const {
  auto* panel = reinterpret_cast<char*>(of.values + column / kPanel * of.value_stride);
  const std::int64_t group = row / quantize_.group_codes * kPanel + column % kPanel;
  return panel + 4 * group + row % quantize_.group_codes * code_bytes_;
}

std::int8_t KvCache::code_at(const char* slot) const { return static_cast<std::int8_t>(*slot); }

void KvCache::put_code(char* slot, std::int8_t code) const {
  const std::int16_t wide = code;  // the lowest byte comes first
  std::memcpy(slot, &wide, static_cast<std::size_t>(code_bytes_));
}

// The codes of rows from a whole panel on.
void KvCache::quantize(AttentionOperand operand, const float* x, std::int64_t stride,
                       std::int64_t count, const Part& to, std::int64_t row) const {
  const bool of_keys = operand == AttentionOperand::kKeys;
  AttentionCodesArgs args;
  args.x = x;
  args.x_stride = stride;
  args.row_list = nullptr;
  args.m = static_cast<std::int32_t>(count);
  args.d = static_cast<std::int32_t>(d_);
  args.operand = operand;
  args.groups = of_keys ? to.keys + row / kPanel * key_stride_
                        : to.values + row / quantize_.group_codes * kPanel;
  args.panel_stride = of_keys ? key_stride_ : to.value_stride;
  args.scale = (of_keys ? to.key_scale : to.value_scale) + row;
  args.start = to.key_start + row;
  quantize_.run(args);
}

void KvCache::put_rows(const Part& to, std::int64_t row, Rows<const float> k, Rows<const float> v,
                       std::int64_t count, const Part& panel) const {
  std::int64_t i = 0;
  for (; i < count && (row + i) % kPanel != 0; ++i) {
    put_row(to, row + i, k.data + i * k.stride, v.data + i * v.stride, panel);
  }
  if (i < count) {
    const AttentionOperand keys = AttentionOperand::kKeys, values = AttentionOperand::kValues;
    quantize(keys, k.data + i * k.stride, k.stride, count - i, to, row + i);
    quantize(values, v.data + i * v.stride, v.stride, count - i, to, row + i);
  }
  for (std::int64_t r = row; r < row + count; ++r) {
    if (!std::isnan(to.value_scale[r])) continue;
    to.key_scale[r] = to.value_scale[r];
    to.value_scale[r] = 0.0f;
  }
}

// One row into a panel that others are in, by way of a panel of its own, whose first row it is.
void KvCache::put_row(const Part& to, std::int64_t row, const float* k, const float* v,
                      const Part& panel) const {
  quantize(AttentionOperand::kKeys, k, d_, 1, panel, 0);
  quantize(AttentionOperand::kValues, v, d_, 1, panel, 0);
  if (quantize_.key_rows) {
    std::memcpy(key_slot(to, row, 0), panel.keys, static_cast<std::size_t>(d_pad_));
  } else {
    std::int32_t* groups = to.keys + row / kPanel * key_stride_ + row % kPanel;
    for (std::int64_t i = 0; i < key_stride_; i += kPanel) groups[i] = panel.keys[i];
  }
  for (std::int64_t column = 0; column < d_pad_; column += kPanel) {
    const char* from = value_slot(panel, 0, column);
    char* slots = value_slot(to, row, column);
    if (code_bytes_ == 1) {
      for (std::int64_t i = 0; i < kPanel; ++i) slots[4 * i] = from[4 * i];
    } else {
      for (std::int64_t i = 0; i < kPanel; ++i) std::memcpy(slots + 4 * i, from + 4 * i, 2);
    }
  }
  to.key_scale[row] = panel.key_scale[0];
  to.value_scale[row] = panel.value_scale[0];
  to.key_start[row] = panel.key_start[0];
}

void KvCache::append(std::int64_t layer, Rows<const float> k, Rows<const float> v,
                     std::int64_t count) {
  Layer& to = layers_[static_cast<std::size_t>(layer)];
  const std::int64_t before = to.length;
  const Growth growth{to};
  const auto bytes = static_cast<std::size_t>(part_bytes(kPanel));
  const Part panel = part_at(scratch(bytes), kPanel);
  std::int64_t done = 0;
  while (done < count) {
    interruption_point();
    const std::int64_t row = (before + done) % kKeysPerBlock;
    const std::int64_t rows = std::min(kKeysPerBlock - row, count - done);
    const Block& block = writable(to, row, row + rows);
    for (std::int64_t head = 0; head < kv_heads_; ++head) {
      const std::int64_t column = head * d_;
      put_rows(part(block, head), row, {k.data + done * k.stride + column, k.stride},
               {v.data + done * v.stride + column, v.stride}, rows, panel);
    }
    done += rows;
  }
  to.length = before + count;
}

void KvCache::truncate(std::int64_t tokens) {
  for (Layer& layer : layers_) {
    layer.length = std::min(layer.length, tokens);
    layer.drop_empty_blocks();
  }
}

std::int64_t KvCache::nbytes() const {
  std::int64_t bytes = 0;
  for (const Layer& layer : layers_) {
    for (const auto& block : layer.blocks) bytes += static_cast<std::int64_t>(block->memory.size());
  }
  return bytes;
}

void KvCache::read(std::int64_t layer, std::int64_t head, const HeadCodes& out) const {
  const Layer& from = layers_[static_cast<std::size_t>(layer)];
  for (std::int64_t token = 0; token < from.length; ++token) {
    if (token % kKeysPerBlock == 0) interruption_point();
    const Part of = part(*from.blocks[static_cast<std::size_t>(token / kKeysPerBlock)], head);
    const std::int64_t row = token % kKeysPerBlock;
    for (std::int64_t column = 0; column < d_; ++column) {
      out.keys[token * out.row_stride + column] = code_at(key_slot(of, row, column));
      out.values[token * out.row_stride + column] = code_at(value_slot(of, row, column));
    }
    out.key_scale[token * out.scale_stride] = of.key_scale[row];
    out.value_scale[token * out.scale_stride] = of.value_scale[row];
  }
}

void KvCache::restore(std::int64_t layer, const HeadCodes* heads, std::int64_t count) {
  Layer& to = layers_[static_cast<std::size_t>(layer)];
  const Growth growth{to};
  for (std::int64_t token = 0; token < count; ++token) {
    const std::int64_t row = (to.length + token) % kKeysPerBlock;
    if (row == 0) interruption_point();
    const Block& block = writable(to, row, std::min(kKeysPerBlock, row + count - token));
    for (std::int64_t head = 0; head < kv_heads_; ++head) {
      const HeadCodes& in = heads[head];
      const Part of = part(block, head);
      std::int32_t sum = 0;
      for (std::int64_t column = 0; column < d_; ++column) {
        const std::int8_t key = in.keys[token * in.row_stride + column];
        sum += key;
        put_code(key_slot(of, row, column), key);
        put_code(value_slot(of, row, column), in.values[token * in.row_stride + column]);
      }
      of.key_scale[row] = in.key_scale[token * in.scale_stride];
      of.value_scale[row] = in.value_scale[token * in.scale_stride];
      of.key_start[row] = -128 * sum;
    }
  }
  to.length += count;
}

}  // namespace octavo
