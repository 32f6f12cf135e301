// SPDX-License-Identifier: Apache-2.0
#include "bindings/arrays.h"

#include <numpy/arrayobject.h>

#include <algorithm>

namespace octavo {
namespace {

Array made(const Shape& shape, const Dtype& dtype, void* data) {
  auto* descr = reinterpret_cast<PyArray_Descr*>(dtype.inc_ref().ptr());  // taken by NumPy
  PyObject* array =
      PyArray_NewFromDescr(&PyArray_Type, descr, static_cast<int>(shape.size()), shape.data(),
                           nullptr, data, data == nullptr ? 0 : NPY_ARRAY_WRITEABLE, nullptr);
  if (array == nullptr) throw nb::python_error();
  return nb::steal<Array>(array);
}

}  // namespace

void import_numpy() {
  if (PyArray_ImportNumPyAPI() < 0) throw nb::python_error();
}

bool is_plain(nb::handle object) { return PyArray_CheckExact(object.ptr()); }

bool Array::is_array(PyObject* object) { return PyArray_Check(object); }
Py_ssize_t Array::size() const { return PyArray_SIZE(get()); }
Py_ssize_t Array::itemsize() const { return PyArray_ITEMSIZE(get()); }

bool Array::has_shape(const Shape& wanted) const {
  return ndim() == static_cast<int>(wanted.size()) &&
         std::equal(wanted.begin(), wanted.end(), shape());
}

bool Array::has_type(const ElementType& type) const {
  const PyArray_Descr* descr = PyArray_DESCR(get());
  // Numbers of types are not compared: two of them may be one on this machine (int and long).
  return descr->kind == type.kind && PyDataType_ELSIZE(descr) == type.size &&
         PyArray_ISNBO(descr->byteorder) && !PyTypeNum_ISUSERDEF(descr->type_num);
}

Dtype::Dtype(const ElementType& type)
    : Dtype(reinterpret_cast<PyObject*>(PyArray_DescrFromType(type.number)),
            nb::detail::steal_t{}) {}

bool Dtype::is_dtype(PyObject* object) { return PyArray_DescrCheck(object); }
Py_ssize_t Dtype::itemsize() const { return PyDataType_ELSIZE(get()); }
bool Dtype::is_number() const { return PyDataType_ISNUMBER(get()); }

Array new_array(const Shape& shape, const Dtype& dtype) { return made(shape, dtype, nullptr); }

Array array_over(const void* data, const Shape& shape, const Dtype& dtype, nb::handle owner) {
  Array array = made(shape, dtype, const_cast<void*>(data));
  auto* view = reinterpret_cast<PyArrayObject*>(array.ptr());
  if (PyArray_SetBaseObject(view, owner.inc_ref().ptr()) < 0) throw nb::python_error();
  return array;
}

}  // namespace octavo
