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

inline const float* optional_floats(const std::optional<Array>& array, Py_ssize_t size,
                                    const char* name, const char* expected) {
  if (!array) return nullptr;
  const float* data = contiguous<float>(*array, 1, name);
  if (array->shape(0) != size) bad_argument(name, expected);
  return data;
}

inline const ElementType& output_type(const Linear& self) {
  return self.options().output_scale ? kElement<std::int8_t> : kElement<float>;
}
inline const ElementType& output_type(const LinearF32&) { return kElement<float>; }

using Inputs = std::initializer_list<nb::handle>;

// Whether the output may go there: nothing that is read then changes. Inputs may be null or None.
template <class Layer>
bool can_take_output(const Layer& self, const Array& out, const Shape& shape, Inputs inputs) {
  return out.has_type(output_type(self)) && out.has_shape(shape) && out.is_contiguous() &&
         out.is_writable() && std::none_of(inputs.begin(), inputs.end(), [&](nb::handle in) {
           return in.is_valid() && !in.is_none() && overlap(out, nb::borrow<Array>(in));
         });
}

template <class Layer>
Array output_for(const Layer& self, const Shape& shape, const std::optional<Array>& out,
                 Inputs inputs) {
  if (!out) return new_result(shape, Dtype(output_type(self)));
  if (!can_take_output(self, *out, shape, inputs)) {
    bad_argument("out", "writable memory of the layer's output, apart from all inputs");
  }
  return *out;
}

inline nb::handle handle_of(const std::optional<Array>& array) {
  return array ? nb::handle(*array) : nb::handle();
}

inline Rows<const float> added_rows(const std::optional<Array>& values, Py_ssize_t m, Py_ssize_t n,
                                    const char* name) {
  if (!values) return {};
  if (values->ndim() != 2 || values->shape(0) != m || values->shape(1) != n) {
    bad_argument(name, "the shape of the output");
  }
  return rows<float>(*values, name);
}

inline bool is_plain_float32(nb::handle x) {
  if (!is_plain(x)) return false;
  const auto array = nb::borrow<Array>(x);
  return array.is_contiguous() && array.has_type(kElement<float>);
}

// Whether `values` is None or a plain array of `shape`, which is then put into `added`.
inline bool take_plain(nb::handle values, const Shape& shape, Rows<const float>& added) {
  if (values.is_none()) return true;
  if (!is_plain_float32(values)) return false;
  const auto array = nb::borrow<Array>(values);
  if (!array.has_shape(shape)) return false;
  added = {array.as<const float>(), shape.back()};
  return true;
}

// The shape is known to end in k. Everything else than plain arrays goes the long way in Python.
template <class Layer>
nb::object call(const Layer& self, nb::handle x, nb::handle residual, nb::handle addend,
                nb::handle out) {
  if (!is_plain_float32(x)) return nb::none();
  const auto array = nb::borrow<Array>(x);
  const int ndim = array.ndim();
  if (ndim < 1 || array.shape(ndim - 1) != self.k()) return nb::none();
  Shape shape(array.shape(), array.shape() + ndim);
  shape.back() = self.n();
  std::int64_t m = 1;
  for (int i = 0; i + 1 < ndim; ++i) m *= shape[static_cast<std::size_t>(i)];
  Added added;
  if (!take_plain(residual, shape, added.after)) return nb::none();
  if (!take_plain(addend, shape, added.before)) return nb::none();
  std::optional<Array> given;
  if (!out.is_none()) {
    if (!is_plain(out)) return nb::none();
    given = nb::borrow<Array>(out);
    if (!can_take_output(self, *given, shape, {x, residual, addend})) return nb::none();
  }
  Array y = given ? *given : new_result(shape, Dtype(output_type(self)));
  const Rows<const float> in = {array.as<const float>(), self.k()};
  const Rows<void> result = {y.data(), self.n()};
  without_gil([&] { self.run(m, in, added, result); });
  return y;
}

template <class Layer>
Array run(const Layer& self, const Array& x, const std::optional<Array>& residual,
          const std::optional<Array>& addend, const std::optional<Array>& out) {
  const Rows<const float> in = rows<float>(x, "x");
  if (x.shape(1) != self.k()) bad_argument("x", "as many columns as the layer has inputs");
  const Py_ssize_t m = x.shape(0);
  const Added added = {added_rows(addend, m, self.n(), "addend"),
                       added_rows(residual, m, self.n(), "residual")};
  const Inputs inputs = {x, handle_of(residual), handle_of(addend)};
  Array y = output_for(self, {m, static_cast<Py_ssize_t>(self.n())}, out, inputs);
  const Rows<void> result = {y.data(), self.n()};
  without_gil([&] { self.run(m, in, added, result); });
  return y;
}

}  // namespace octavo
