// SPDX-License-Identifier: Apache-2.0
// NumPy's arrays: those that Python hands over, and new ones.
#pragma once
#include <nanobind/nanobind.h>

#include <cstdint>
#include <vector>

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_1_24_API_VERSION
#include <numpy/ndarraytypes.h>

namespace octavo {

namespace nb = nanobind;

// NumPy's letter for a kind of elements, their bytes, and its number for a type that has both.
struct ElementType {
  char kind;
  int size, number;
};

template <class T>
inline constexpr ElementType kElement = {};
template <>
inline constexpr ElementType kElement<bool> = {'b', 1, NPY_BOOL};
template <>
inline constexpr ElementType kElement<float> = {'f', 4, NPY_FLOAT32};
template <>
inline constexpr ElementType kElement<std::int8_t> = {'i', 1, NPY_INT8};
template <>
inline constexpr ElementType kElement<std::uint8_t> = {'u', 1, NPY_UINT8};
template <>
inline constexpr ElementType kElement<std::int16_t> = {'i', 2, NPY_INT16};
template <>
inline constexpr ElementType kElement<std::uint16_t> = {'u', 2, NPY_UINT16};
template <>
inline constexpr ElementType kElement<std::int32_t> = {'i', 4, NPY_INT32};
template <>
inline constexpr ElementType kElement<std::int64_t> = {'i', 8, NPY_INT64};
inline constexpr ElementType kFloat16 = {'f', 2, NPY_FLOAT16};

using Shape = std::vector<Py_ssize_t>;

// An array, perhaps of a subclass.
class Array : public nb::object {
 public:
  NB_OBJECT_DEFAULT(Array, nb::object, "numpy.ndarray", is_array)

  int ndim() const { return PyArray_NDIM(get()); }
  const Py_ssize_t* shape() const { return PyArray_DIMS(get()); }
  Py_ssize_t shape(int axis) const { return shape()[axis]; }
  Py_ssize_t strides(int axis) const { return PyArray_STRIDES(get())[axis]; }
  void* data() const { return PyArray_DATA(get()); }
  template <class T>
  T* as() const {
    return static_cast<T*>(data());
  }
  Py_ssize_t size() const;
  Py_ssize_t itemsize() const;

  bool has_shape(const Shape& wanted) const;
  // Also in the byte order of the machine.
  bool has_type(const ElementType& type) const;
  // Elements at multiples of their size. Streaming stores fault elsewhere.
  bool is_aligned() const { return has_flags(NPY_ARRAY_ALIGNED); }
  bool is_contiguous() const { return has_flags(NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED); }
  bool is_writable() const { return has_flags(NPY_ARRAY_WRITEABLE); }
  void make_read_only() const { PyArray_CLEARFLAGS(get(), NPY_ARRAY_WRITEABLE); }

 private:
  static bool is_array(PyObject* object);
  PyArrayObject* get() const { return reinterpret_cast<PyArrayObject*>(m_ptr); }
  bool has_flags(int flags) const { return PyArray_CHKFLAGS(get(), flags); }
};

// An object that says what the elements of an array are.
class Dtype : public nb::object {
 public:
  NB_OBJECT_DEFAULT(Dtype, nb::object, "numpy.dtype", is_dtype)

  explicit Dtype(const ElementType& type);
  Py_ssize_t itemsize() const;
  // Of which any bytes are a value.
  bool is_number() const;

 private:
  static bool is_dtype(PyObject* object);
  PyArray_Descr* get() const { return reinterpret_cast<PyArray_Descr*>(m_ptr); }
};

// Before all else that is declared here.
void import_numpy();

// Whether it is an array of no subclass: those (masked arrays, say) mean something else by
// elements.
bool is_plain(nb::handle object);

// With elements of any value.
Array new_array(const Shape& shape, const Dtype& dtype);

template <class T>
Array new_array(const Shape& shape) {
  return new_array(shape, Dtype(kElement<T>));
}

// Of memory that lives as long as its owner; writable.
Array array_over(const void* data, const Shape& shape, const Dtype& dtype, nb::handle owner);

}  // namespace octavo
