// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <memory>
#include <utility>

#include "bindings/register.h"
#include "bindings/results.h"
#include "bindings/views.h"
#include "memory/result_cache.h"

namespace octavo {

py::array new_result(std::vector<py::ssize_t> shape, const py::dtype& dtype) {
  std::int64_t bytes = dtype.itemsize();
  for (const py::ssize_t size : shape) {
    if (size < 0) bad_argument("shape", "sizes of at least 0");
    bytes = checked_mul(bytes, size);
  }
  if (!is_kept_size(static_cast<std::size_t>(bytes))) return py::array(dtype, std::move(shape));
  // Any bytes are a number; elements of other kinds may be pointers.
  if (std::strchr("biufc", dtype.kind()) == nullptr) bad_argument("dtype", "numbers");
  auto buffer = std::make_unique<AlignedBuffer>(take_result(static_cast<std::size_t>(bytes)));
  const void* data = buffer->as<void>();
  const py::capsule owner(buffer.get(), [](void* held) {
    const std::unique_ptr<AlignedBuffer> last(static_cast<AlignedBuffer*>(held));
    keep_result(std::move(*last));
  });
  buffer.release();
  return py::array(dtype, std::move(shape), data, owner);
}

void register_results(py::module_& m) {
  using namespace pybind11::literals;
  m.attr("SMALLEST_KEPT") = kSmallestKept;
  m.def("empty", &new_result, "shape"_a, "dtype"_a);
  m.def("result_cache", [] {
    const ResultCache cache = result_cache();
    return py::make_tuple(cache.limit, cache.bytes, cache.buffers);
  });
  m.def("limit_result_cache", [](std::size_t limit) { limit_result_cache(limit); }, "limit"_a);
}

}  // namespace octavo
