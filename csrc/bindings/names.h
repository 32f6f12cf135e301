// SPDX-License-Identifier: Apache-2.0
// Values of an enumeration by the names that Python knows them by.
#pragma once
#include <nanobind/nanobind.h>

#include <cstddef>
#include <string>

namespace octavo {

template <class T>
struct Named {
  const char* name;
  T value;
};

// The value of a name; an error that says which argument it was.
template <class T, std::size_t N>
T value_named(const Named<T> (&table)[N], const std::string& name, const char* argument) {
  for (const Named<T>& entry : table) {
    if (name == entry.name) return entry.value;
  }
  throw nanobind::value_error((std::string(argument) + ": unknown name '" + name + "'").c_str());
}

// The name of a value that is in the table.
template <class T, std::size_t N>
const char* name_of(const Named<T> (&table)[N], T value) {
  for (const Named<T>& entry : table) {
    if (value == entry.value) return entry.name;
  }
  return "";
}

}  // namespace octavo
