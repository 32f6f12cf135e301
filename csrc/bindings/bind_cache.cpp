// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <stdexcept>
#include <vector>

#include "bindings/caches.h"
#include "bindings/gil.h"
#include "bindings/offsets.h"
#include "bindings/register.h"
#include "bindings/views.h"
#include "ops/attention_s8.h"
#include "ops/kv_cache.h"

namespace octavo {
namespace {

// What work() gives while nobody else uses the cache.
template <class Work>
auto alone(const KvCache& cache, const Work& work) -> decltype(work()) {
  return without_gil([&] {
    const InUse use(cache);
    return work();
  });
}

void make_cache(KvCache* self, std::int64_t layers, std::int64_t kv_heads, std::int64_t d) {
  if (layers < 1 || layers > kMostParts) bad_argument("layers", "1 to 65536");
  if (kv_heads < 1 || kv_heads > kMostParts) bad_argument("kv_heads", "1 to 65536");
  if (d < 1 || d > kLargestHead) bad_argument("head_size", "1 to 1040");
  new (self) KvCache(layers, kv_heads, d);
}

void check_layer(const KvCache& self, std::int64_t layer) {
  if (layer < 0 || layer >= self.layers()) bad_argument("layer", "one that the cache has");
}

void append(KvCache& self, std::int64_t layer, const Array& k, const Array& v) {
  check_layer(self, layer);
  const Rows<const float> keys = rows<float>(k, "k"), values = rows<float>(v, "v");
  if (k.shape(1) != self.kv_heads() * self.d()) bad_argument("k", "kv_heads * head_size columns");
  if (v.shape(0) != k.shape(0) || v.shape(1) != k.shape(1)) bad_argument("v", "the shape of k");
  const std::int64_t count = k.shape(0);
  alone(self, [&] {
    check_room(self.length(layer), count, "k");
    self.append(layer, keys, values, count);
  });
}

std::vector<std::int64_t> lengths(const KvCache& self) {
  return alone(self, [&] {
    std::vector<std::int64_t> all;
    for (std::int64_t layer = 0; layer < self.layers(); ++layer) all.push_back(self.length(layer));
    return all;
  });
}

void truncate(KvCache& self, std::int64_t tokens) {
  if (tokens < 0) bad_argument("tokens", "at least 0");
  alone(self, [&] { self.truncate(tokens); });
}

// Heads of codes and scales as they lie in arrays of all heads.
std::vector<HeadCodes> heads_of(const KvCache& self, std::int8_t* k, float* k_scale, std::int8_t* v,
                                float* v_scale) {
  std::vector<HeadCodes> heads;
  const std::int64_t d = self.d(), count = self.kv_heads();
  for (std::int64_t h = 0; h < count; ++h) {
    heads.push_back({k + h * d, v + h * d, k_scale + h, v_scale + h, count * d, count});
  }
  return heads;
}

nb::tuple codes(const KvCache& self, std::int64_t layer) {
  check_layer(self, layer);
  const std::int64_t n = alone(self, [&] { return self.length(layer); });
  const Shape rows = {n, self.kv_heads(), self.d()}, scales = {n, self.kv_heads()};
  const Array k = new_array<std::int8_t>(rows), v = new_array<std::int8_t>(rows);
  const Array k_scale = new_array<float>(scales), v_scale = new_array<float>(scales);
  const std::vector<HeadCodes> heads = heads_of(self, k.as<std::int8_t>(), k_scale.as<float>(),
                                                v.as<std::int8_t>(), v_scale.as<float>());
  alone(self, [&] {
    if (self.length(layer) != n) throw std::runtime_error("self: another call uses this cache");
    for (std::int64_t h = 0; h < self.kv_heads(); ++h) {
      self.read(layer, h, heads[static_cast<std::size_t>(h)]);
    }
  });
  return nb::make_tuple(k, k_scale, v, v_scale);
}

template <class T>
T* restored(const Array& array, const KvCache& self, Py_ssize_t n, int ndim, const char* name) {
  const T* data = contiguous<T>(array, ndim, name);
  if (array.shape(0) != n || array.shape(1) != self.kv_heads() ||
      (ndim == 3 && array.shape(2) != self.d())) {
    bad_argument(name, "the shape that codes() gives");
  }
  return const_cast<T*>(data);  // read alone
}

// Those that codes() gives: others would have sums that are not exact, or no weight in 8 bits.
void check_codes(const std::int8_t* codes, Py_ssize_t count, const char* name) {
  const auto fits = [](std::int8_t code) { return code >= -127; };
  if (!std::all_of(codes, codes + count, fits)) bad_argument(name, "codes of -127 to 127");
}

void check_scales(const float* scales, Py_ssize_t count, bool of_keys, const char* name) {
  const auto fits = [&](float scale) {
    return std::isnan(scale) ? of_keys : scale >= 0.0f && std::isfinite(scale);
  };
  if (std::all_of(scales, scales + count, fits)) return;
  bad_argument(name,
               of_keys ? "finite scales of at least 0, or NaN" : "finite scales of at least 0");
}

void restore(KvCache& self, std::int64_t layer, const Array& k, const Array& k_scale,
             const Array& v, const Array& v_scale) {
  check_layer(self, layer);
  const Py_ssize_t n = k.ndim() > 0 ? k.shape(0) : 0;
  auto* keys = restored<std::int8_t>(k, self, n, 3, "k_codes");
  auto* key_scales = restored<float>(k_scale, self, n, 2, "k_scale");
  auto* values = restored<std::int8_t>(v, self, n, 3, "v_codes");
  auto* value_scales = restored<float>(v_scale, self, n, 2, "v_scale");
  const std::vector<HeadCodes> heads = heads_of(self, keys, key_scales, values, value_scales);
  check_codes(keys, k.size(), "k_codes");
  check_codes(values, v.size(), "v_codes");
  check_scales(key_scales, k_scale.size(), true, "k_scale");
  check_scales(value_scales, v_scale.size(), false, "v_scale");
  alone(self, [&] {
    check_room(self.length(layer), n, "k_codes");
    self.restore(layer, heads.data(), n);
  });
}

void check_queries(const CachedQueries& call, Py_ssize_t width) {
  const KvCache& any = *call.caches[0];
  for (std::int64_t s = 0; s < call.count; ++s) {
    if (call.offsets[s + 1] - call.offsets[s] > call.caches[s]->length(call.layer)) {
      bad_argument("offsets", "rows whose keys the caches hold");
    }
  }
  if (width != call.heads * any.d() || call.heads % any.kv_heads() != 0) {
    bad_argument("heads", "a multiple of kv_heads, with as many columns of q as they have");
  }
}

void attend(const Array& q, const Array& offsets,
            const std::vector<std::shared_ptr<KvCache>>& given, std::int64_t layer,
            std::int64_t heads, const std::optional<std::int64_t>& window, float sm_scale,
            const Array& out) {
  const Rows<const float> queries = rows<float>(q, "q");
  const std::vector<std::int64_t> starts = row_offsets(offsets, q.shape(0));
  Caches caches(given);
  const auto count = static_cast<std::int64_t>(caches.list.size());
  if (count == 0 || static_cast<std::int64_t>(starts.size()) != count + 1) {
    bad_argument("caches", "one for each sequence of offsets");
  }
  check_layer(*caches.list[0], layer);
  if (heads < 1 || heads > kMostParts) bad_argument("heads", "1 to 65536");
  if (window && *window < 1) bad_argument("window", "at least 1, or None");
  if (!(sm_scale >= 0.0f)) bad_argument("sm_scale", "at least 0");
  auto* result = writable<float>(out, "out");
  if (out.ndim() != 2 || out.shape(0) != q.shape(0) || out.shape(1) != q.shape(1)) {
    bad_argument("out", "the shape of q");
  }
  check_apart(out, q, "q");
  const CachedQueries call = {
      queries.data, queries.stride, starts.data(), caches.list.data(),
      count,        layer,          heads,         window.value_or(kNoWindow)};
  const Py_ssize_t width = q.shape(1);
  without_gil([&] {
    caches.take();
    caches.check_alike();
    check_queries(call, width);
    attention_cached(call, sm_scale, result);
  });
}

}  // namespace

void register_cache(nb::module_& m) {
  using namespace nanobind::literals;
  nb::class_<KvCache>(m, "KeyValueCache")
      .def("__init__", &make_cache, "layers"_a, "kv_heads"_a, "head_size"_a)
      .def("append", &append, "layer"_a, "k"_a, "v"_a)
      .def("lengths", &lengths)
      .def("truncate", &truncate, "tokens"_a)
      .def("fork",
           [](const KvCache& self) {
             return alone(self, [&] { return std::make_unique<KvCache>(self); });
           })
      .def("codes", &codes, "layer"_a)
      .def("restore", &restore, "layer"_a, "k_codes"_a, "k_scale"_a, "v_codes"_a, "v_scale"_a)
      .def_prop_ro("nbytes",
                   [](const KvCache& self) { return alone(self, [&] { return self.nbytes(); }); });
  m.def("attention_cached", &attend, "q"_a, "offsets"_a, "caches"_a, "layer"_a, "heads"_a,
        "window"_a, "sm_scale"_a, "out"_a);
}

}  // namespace octavo
