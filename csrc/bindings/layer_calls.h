// SPDX-License-Identifier: Apache-2.0
// How Python calls a linear layer, whatever its weight: what it may give, and where results go.
#pragma once
#include <algorithm>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/gil.h"
#include "bindings/results.h"
#include "bindings/views.h"
#include "ops/linear.h"
#include "ops/linear_f32.h"

namespace octavo {

inline const float* optional_floats(const std::optional<py::array>& array, py::ssize_t size,
                                    const char* name, const char* expected) {
  if (!array) return nullptr;
  const float* data = contiguous<float>(*array, 1, name);
  if (array->shape(0) != size) bad_argument(name, expected);
  return data;
}

inline py::dtype output_dtype(const Linear& self) {
  return self.options().output_scale ? py::dtype::of<std::int8_t>() : py::dtype::of<float>();
}
inline py::dtype output_dtype(const LinearF32&) { return py::dtype::of<float>(); }

using Inputs = std::initializer_list<py::handle>;

// Whether the output may go there: nothing that is read then changes. Inputs may be null or None.
template <class Layer>
bool can_take_output(const Layer& self, const py::array& out, const std::vector<py::ssize_t>& shape,
                     Inputs inputs) {
  const py::dtype dtype = out.dtype();
  const bool typed =
      dtype.normalized_num() == output_dtype(self).normalized_num() && dtype.byteorder() != '>';
  const bool shaped = out.ndim() == static_cast<py::ssize_t>(shape.size()) &&
                      std::equal(shape.begin(), shape.end(), out.shape());
  return typed && shaped && is_contiguous(out) && out.writeable() &&
         std::none_of(inputs.begin(), inputs.end(), [&](py::handle in) {
           return in && !in.is_none() && overlap(out, py::reinterpret_borrow<py::array>(in));
         });
}

template <class Layer>
py::array output_for(const Layer& self, std::vector<py::ssize_t> shape,
                     const std::optional<py::array>& out, Inputs inputs) {
  if (!out) return new_result(std::move(shape), output_dtype(self));
  if (!can_take_output(self, *out, shape, inputs)) {
    bad_argument("out", "writable memory of the layer's output, apart from all inputs");
  }
  return *out;
}

inline py::handle handle_of(const std::optional<py::array>& array) {
  return array ? py::handle(*array) : py::handle();
}

inline Rows<const float> added_rows(const std::optional<py::array>& values, py::ssize_t m,
                                    py::ssize_t n, const char* name) {
  if (!values) return {};
  if (values->ndim() != 2 || values->shape(0) != m || values->shape(1) != n) {
    bad_argument(name, "the shape of the output");
  }
  return rows<float>(*values, name);
}

// Subclasses (masked arrays, say) mean something else by their elements and take the long way.
inline bool is_plain(py::handle x) {
  return Py_TYPE(x.ptr()) == py::detail::npy_api::get().PyArray_Type_;
}

inline bool is_plain_float32(py::handle x) {
  if (!is_plain(x)) return false;
  const auto array = py::reinterpret_borrow<py::array>(x);
  return is_contiguous(array) && has_dtype<float>(array);
}

// Whether `values` is None or a plain array of `shape`, which is then put into `added`.
inline bool take_plain(py::handle values, const std::vector<py::ssize_t>& shape,
                       Rows<const float>& added) {
  if (values.is_none()) return true;
  if (!is_plain_float32(values)) return false;
  const auto array = py::reinterpret_borrow<py::array>(values);
  const auto ndim = static_cast<py::ssize_t>(shape.size());
  if (array.ndim() != ndim || !std::equal(shape.begin(), shape.end(), array.shape())) return false;
  added = {static_cast<const float*>(array.data()), shape.back()};
  return true;
}

// The shape is known to end in k. Everything else than plain arrays goes the long way in Python.
template <class Layer>
py::object call(const Layer& self, py::handle x, py::handle residual, py::handle addend,
                py::handle out) {
  if (!is_plain_float32(x)) return py::none();
  const auto array = py::reinterpret_borrow<py::array>(x);
  const py::ssize_t ndim = array.ndim();
  if (ndim < 1 || array.shape(ndim - 1) != self.k()) return py::none();
  std::vector<py::ssize_t> shape(array.shape(), array.shape() + ndim);
  shape.back() = self.n();
  std::int64_t m = 1;
  for (py::ssize_t i = 0; i + 1 < ndim; ++i) m *= shape[static_cast<std::size_t>(i)];
  Added added;
  if (!take_plain(residual, shape, added.after)) return py::none();
  if (!take_plain(addend, shape, added.before)) return py::none();
  std::optional<py::array> given;
  if (!out.is_none()) {
    if (!is_plain(out)) return py::none();
    given = py::reinterpret_borrow<py::array>(out);
    if (!can_take_output(self, *given, shape, {x, residual, addend})) return py::none();
  }
  py::array y = given ? *given : new_result(std::move(shape), output_dtype(self));
  const Rows<const float> in = {static_cast<const float*>(array.data()), self.k()};
  const Rows<void> result = {y.mutable_data(), self.n()};
  without_gil([&] { self.run(m, in, added, result); });
  return y;
}

template <class Layer>
py::array run(const Layer& self, const py::array& x, const std::optional<py::array>& residual,
              const std::optional<py::array>& addend, const std::optional<py::array>& out) {
  const Rows<const float> in = rows<float>(x, "x");
  if (x.shape(1) != self.k()) bad_argument("x", "as many columns as the layer has inputs");
  const py::ssize_t m = x.shape(0);
  const Added added = {added_rows(addend, m, self.n(), "addend"),
                       added_rows(residual, m, self.n(), "residual")};
  const Inputs inputs = {x, handle_of(residual), handle_of(addend)};
  py::array y = output_for(self, {m, static_cast<py::ssize_t>(self.n())}, out, inputs);
  const Rows<void> result = {y.mutable_data(), self.n()};
  without_gil([&] { self.run(m, in, added, result); });
  return y;
}

}  // namespace octavo
