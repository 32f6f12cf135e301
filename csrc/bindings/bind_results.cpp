// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <utility>

#include "bindings/register.h"
#include "bindings/results.h"
#include "bindings/views.h"
#include "memory/result_cache.h"

namespace octavo {

Array new_result(const Shape& shape, const Dtype& dtype) {
  std::int64_t bytes = dtype.itemsize();
  for (const Py_ssize_t size : shape) {
    if (size < 0) bad_argument("shape", "sizes of at least 0");
    bytes = checked_mul(bytes, size);
  }
  if (!is_kept_size(static_cast<std::size_t>(bytes))) return new_array(shape, dtype);
  // Elements of other kinds may be pointers.
  if (!dtype.is_number()) bad_argument("dtype", "numbers");
  auto buffer = std::make_unique<AlignedBuffer>(take_result(static_cast<std::size_t>(bytes)));
  const void* data = buffer->as<void>();
  const nb::capsule owner(buffer.get(), [](void* held) noexcept {
    const std::unique_ptr<AlignedBuffer> last(static_cast<AlignedBuffer*>(held));
    keep_result(std::move(*last));
  });
  buffer.release();
  return array_over(data, shape, dtype, owner);
}

void register_results(nb::module_& m) {
  using namespace nanobind::literals;
  m.attr("SMALLEST_KEPT") = kSmallestKept;
  m.def("empty", &new_result, "shape"_a, "dtype"_a);
  m.def("result_cache", [] {
    const ResultCache cache = result_cache();
    return nb::make_tuple(cache.limit, cache.bytes, cache.buffers);
  });
  m.def("limit_result_cache", [](std::size_t limit) { limit_result_cache(limit); }, "limit"_a);
}

}  // namespace octavo
