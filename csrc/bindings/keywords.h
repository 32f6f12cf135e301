// SPDX-License-Identifier: Apache-2.0
// Arguments by name, of functions that have many: each is asked for once, then finish() refuses
// those that nothing asked for. Those with a value `otherwise` may be left out.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "bindings/views.h"

namespace octavo {

class Keywords {
 public:
  explicit Keywords(const nb::kwargs& given) : given_(given) {}

  std::int64_t integer(const char* name) { return to_integer(required(name), name); }
  std::int64_t integer(const char* name, std::int64_t otherwise) {
    const nb::handle value = find(name);
    return value ? to_integer(value, name) : otherwise;
  }

  double number(const char* name) { return to_number(required(name), name); }
  double number(const char* name, double otherwise) {
    const nb::handle value = find(name);
    return value ? to_number(value, name) : otherwise;
  }

  bool flag(const char* name) {
    const nb::handle value = find(name);
    if (value && !PyBool_Check(value.ptr())) wrong(name, "True or False");
    return value.ptr() == Py_True;
  }

  std::string text(const char* name, const char* otherwise) {
    const nb::handle value = find(name);
    if (!value) return otherwise;
    if (!PyUnicode_Check(value.ptr())) wrong(name, "a string");
    return nb::cast<std::string>(value);
  }

  // A sequence of integers.
  std::vector<std::int64_t> integers(const char* name) { return to_integers(required(name), name); }
  template <std::size_t Count>
  std::array<std::int64_t, Count> integers(const char* name) {
    return sized<Count>(integers(name), name);
  }
  template <std::size_t Count>
  std::array<std::int64_t, Count> integers(const char* name,
                                           const std::array<std::int64_t, Count>& otherwise) {
    const nb::handle value = find(name);
    return !value || value.is_none() ? otherwise : sized<Count>(to_integers(value, name), name);
  }

  Array array(const char* name) {
    const nb::handle value = required(name);
    if (!nb::isinstance<Array>(value)) wrong(name, "an array");
    return nb::borrow<Array>(value);
  }
  // Elements of a one-dimensional array; null where it is left out or None.
  template <class T>
  const T* values(const char* name, std::int64_t count, bool may_be_none = false) {
    const nb::handle value = may_be_none ? find(name) : required(name);
    if (may_be_none && (!value || value.is_none())) return nullptr;
    if (!nb::isinstance<Array>(value)) wrong(name, "an array");
    const auto found = nb::borrow<Array>(value);
    const T* data = contiguous<T>(found, 1, name);
    if (found.shape(0) != count) bad_argument(name, "one value for each output or channel");
    return data;
  }

  void finish() const {
    if (read_ != PyDict_Size(given_.ptr())) {
      throw nb::type_error("arguments: expected those that the step has");
    }
  }

 private:
  [[noreturn]] static void wrong(const char* name, const char* expected) {
    throw nb::type_error((std::string(name) + ": expected " + expected).c_str());
  }

  nb::handle find(const char* name) {
    const nb::handle value = PyDict_GetItemString(given_.ptr(), name);
    if (value) ++read_;
    return value;
  }
  nb::handle required(const char* name) {
    const nb::handle value = find(name);
    if (!value) wrong(name, "a value");
    return value;
  }

  static std::int64_t to_integer(nb::handle value, const char* name) {
    const auto index = nb::steal<nb::object>(PyNumber_Index(value.ptr()));
    if (!index) PyErr_Clear(), wrong(name, "an integer");
    int overflow = 0;
    const std::int64_t integer = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
    if (overflow != 0) bad_argument(name, "an integer of 64 bits");
    return integer;
  }
  static double to_number(nb::handle value, const char* name) {
    const double number = PyFloat_AsDouble(value.ptr());
    if (number == -1.0 && PyErr_Occurred()) PyErr_Clear(), wrong(name, "a number");
    return number;
  }
  static std::vector<std::int64_t> to_integers(nb::handle value, const char* name) {
    const auto items = nb::steal<nb::object>(PySequence_Tuple(value.ptr()));
    if (!items) PyErr_Clear(), wrong(name, "a tuple of integers");
    std::vector<std::int64_t> integers;
    for (Py_ssize_t i = 0; i < PyTuple_Size(items.ptr()); ++i) {
      integers.push_back(to_integer(PyTuple_GetItem(items.ptr(), i), name));
    }
    return integers;
  }
  template <std::size_t Count>
  static std::array<std::int64_t, Count> sized(const std::vector<std::int64_t>& values,
                                               const char* name) {
    if (values.size() != Count) bad_argument(name, "as many numbers as there are axes");
    std::array<std::int64_t, Count> result;
    std::copy(values.begin(), values.end(), result.begin());
    return result;
  }

  const nb::kwargs& given_;
  Py_ssize_t read_ = 0;
};

}  // namespace octavo
