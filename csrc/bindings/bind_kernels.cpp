// SPDX-License-Identifier: Apache-2.0
// One kernel row at a time, by name and on the caller's own memory: for tests and measurements.
// The extents that each kernel.h promises are checked; the arrays may end exactly there.
#include <algorithm>
#include <optional>
#include <string>

#include "bindings/activation_names.h"
#include "bindings/register.h"
#include "bindings/views.h"
#include "dispatch/registry.h"
#include "memory/sizes.h"
#include "weights/dense.h"

namespace octavo {
namespace {

constexpr Named<AForm> kForms[] = {
    {"s8", AForm::kS8}, {"sign_abs", AForm::kSignAbs}, {"u8", AForm::kU8}};

template <class Row>
const Row& row_named(const std::vector<Row>& rows, const std::string& name) {
  for (const Row& row : rows) {
    if (name != row.name) continue;
    if (!(detected_isas() & bit(row.isa))) {
      throw py::value_error("name: kernel '" + name + "' is not supported here");
    }
    return row;
  }
  throw py::value_error("name: no kernel '" + name + "' in this family");
}

// A matrix with unit stride along its rows, at least m x n.
template <class T>
T* matrix(py::array& array, std::int64_t m, std::int64_t n, std::int64_t& stride,
          const char* name) {
  stride = rows<T>(array, name).stride;
  if (array.shape(0) < m || array.shape(1) < n) bad_argument(name, "more rows or columns");
  if (!array.writeable()) bad_argument(name, "a writable array");
  return static_cast<T*>(array.mutable_data());
}

template <class T>
const T* vector(const py::array& array, std::int64_t n, const char* name) {
  const T* data = contiguous<T>(array, 1, name);
  if (array.shape(0) < n) bad_argument(name, "more values");
  return data;
}

template <class T>
const T* optional_vector(const std::optional<py::array>& array, std::int64_t n, const char* name) {
  return array ? vector<T>(*array, n, name) : nullptr;
}

std::int32_t count32(std::int64_t value, const char* name) {
  if (value < 0 || value > INT32_MAX) bad_argument(name, "a count below 2**31");
  return static_cast<std::int32_t>(value);
}

// Whether each order names groups within its block and no more twos than there are.
bool are_orders(const GroupOrder* orders, std::int64_t count, std::int64_t stride, int k_groups) {
  for (std::int64_t i = 0; orders != nullptr && i < count; ++i) {
    const std::int64_t left = k_groups - i % stride * GroupOrder::kGroups;
    const auto groups = std::min<std::int64_t>(GroupOrder::kGroups, left);
    const GroupOrder& order = orders[i];
    const auto* last = std::max_element(order.group, order.group + groups);
    if (2 * order.pairs > groups || *last >= groups) return false;
  }
  return true;
}

void gemm_s8(const std::string& name, py::array a, std::int64_t a_abs_offset, const py::array& b,
             std::int64_t b_panel_stride, const std::optional<py::array>& b_orders, py::array c,
             int m, int panels, int k_groups, bool accumulate) {
  const GemmS8Row& row = row_named(kernel_rows<GemmS8Args>(), name);
  if (m < 0 || panels < 0 || k_groups < 0)
    bad_argument("m, panels, k_groups", "no negative counts");
  if (a_abs_offset < 0 || b_panel_stride < 0)
    bad_argument("a_abs_offset, b_panel_stride", "at least 0");
  const std::int64_t m_rows = round_up(m, row.m_align);
  const std::int64_t width = round_up(4 * std::int64_t{k_groups}, 64);
  const std::int64_t abs_width = row.form == AForm::kSignAbs ? a_abs_offset : 0;
  const std::int64_t b_bytes = panels == 0 ? 0
                                           : checked_add(checked_mul(panels - 1, b_panel_stride),
                                                         64 * round_up(k_groups, 16));
  GemmS8Args args;
  args.a = matrix<std::uint8_t>(a, m_rows, checked_add(abs_width, width), args.a_stride, "a");
  args.a_abs_offset = a_abs_offset;
  args.b = vector<std::int8_t>(b, b_bytes, "b");
  args.b_panel_stride = b_panel_stride;
  args.b_orders_stride = (k_groups + GroupOrder::kGroups - 1) / GroupOrder::kGroups;
  const std::int64_t order_bytes =
      (panels + 1) / 2 * args.b_orders_stride * std::int64_t{sizeof(GroupOrder)};
  args.b_orders = reinterpret_cast<const GroupOrder*>(
      optional_vector<std::uint8_t>(b_orders, order_bytes, "b_orders"));
  if (!are_orders(args.b_orders, order_bytes / std::int64_t{sizeof(GroupOrder)},
                  args.b_orders_stride, k_groups)) {
    bad_argument("b_orders", "groups of their blocks");
  }
  args.c = matrix<std::int32_t>(c, m_rows, 16 * std::int64_t{panels}, args.c_stride, "c");
  args.m = m;
  args.panels = panels;
  args.k_groups = k_groups;
  args.accumulate = accumulate;
  const py::gil_scoped_release nogil;
  row.run(args);
}

// The (k, n) matrix `b` of 8-bit codes at any strides, each xor `flip`: packed bytes (slack
// included), the bytes of its orders, column sums.
py::tuple pack_b(const py::array& b, std::uint8_t flip) {
  if (b.ndim() != 2 || b.itemsize() != 1) bad_argument("b", "two dimensions of 8-bit codes");
  const DenseWeight packed(static_cast<const std::uint8_t*>(b.data()), b.shape(0), b.shape(1),
                           stride_of(b, 0, 1, "b"), stride_of(b, 1, 1, "b"), flip);
  py::array_t<std::int8_t> codes(packed.code_bytes(), packed.panel(0));
  const std::int64_t order_bytes = packed.order_count() * std::int64_t{sizeof(GroupOrder)};
  py::array_t<std::uint8_t> orders(order_bytes,
                                   reinterpret_cast<const std::uint8_t*>(packed.orders(0)));
  py::array_t<std::int32_t> col_sum(packed.n(), packed.col_sum());
  return py::make_tuple(codes, orders, col_sum);
}

// unpack(pack(b)): the codes as rows of (n, k).
py::array_t<std::int8_t> repack_b(const py::array& b, std::uint8_t flip) {
  if (b.ndim() != 2 || b.itemsize() != 1) bad_argument("b", "two dimensions of 8-bit codes");
  py::array_t<std::int8_t> out({b.shape(1), b.shape(0)});
  DenseWeight(static_cast<const std::uint8_t*>(b.data()), b.shape(0), b.shape(1),
              stride_of(b, 0, 1, "b"), stride_of(b, 1, 1, "b"), flip)
      .unpack(out.mutable_data());
  return out;
}

void quantize_rows(const std::string& name, const py::array& x, const std::string& form,
                   bool symmetric, std::optional<float> static_scale, int static_zero_point,
                   py::array a, std::int64_t a_abs_offset, bool pad, py::array scale,
                   py::array zero_point, const std::optional<py::array>& multiplier) {
  const auto& row = row_named(kernel_rows<QuantizeRowsArgs>(), name);
  const Rows<const float> in = rows<float>(x, "x");
  const std::int64_t m = x.shape(0), k = x.shape(1), k_pad = round_up(k, 64);
  QuantizeRowsArgs args;
  args.form = value_named(kForms, form, "form");
  const bool abs = args.form == AForm::kSignAbs;
  if (abs && a_abs_offset < k_pad) bad_argument("a_abs_offset", "at least k rounded up to 64");
  args.x = in.data;
  args.x_stride = in.stride;
  args.multiplier = optional_vector<float>(multiplier, k, "multiplier");
  args.m = count32(m, "x");
  args.k = count32(k, "x");
  args.symmetric = symmetric;
  args.static_scale = static_scale ? &*static_scale : nullptr;
  args.static_zero_point = static_zero_point;
  args.a = matrix<std::uint8_t>(a, m, checked_add(abs ? a_abs_offset : 0, pad ? k_pad : k),
                                args.a_stride, "a");
  args.a_abs_offset = a_abs_offset;
  args.pad = pad;
  if (scale.size() < m || zero_point.size() < m) bad_argument("scale, zero_point", "one per row");
  args.scale = writable<float>(scale, "scale");
  args.zero_point = writable<std::int32_t>(zero_point, "zero_point");
  const py::gil_scoped_release nogil;
  row.run(args);
}

Rows<const float> optional_rows(const std::optional<py::array>& array, std::int64_t m,
                                std::int64_t n, const char* name) {
  if (!array) return {};
  if (array->ndim() == 2 && (array->shape(0) < m || array->shape(1) < n)) {
    bad_argument(name, "the shape of out");
  }
  return rows<float>(*array, name);
}

void epilogue(const std::string& name, py::array acc, const py::array& zero_point,
              const py::array& col_sum, const py::array& row_scale, const py::array& col_scale,
              const std::optional<py::array>& bias, const std::optional<py::array>& addend,
              const std::optional<py::array>& residual, const std::string& activation,
              py::array out, std::optional<float> out_scale, int out_zero_point) {
  const auto& row = row_named(kernel_rows<EpilogueArgs>(), name);
  if (out.ndim() != 2) bad_argument("out", "two dimensions");
  const std::int64_t m = out.shape(0), n = out.shape(1);
  EpilogueArgs args;
  args.acc = matrix<std::int32_t>(acc, m, round_up(n, 16), args.acc_stride, "acc");
  args.m = count32(m, "out");
  args.n = count32(n, "out");
  args.zero_point = vector<std::int32_t>(zero_point, m, "zero_point");
  args.col_sum = vector<std::int32_t>(col_sum, n, "col_sum");
  args.row_scale = vector<float>(row_scale, m, "row_scale");
  args.col_scale = vector<float>(col_scale, n, "col_scale");
  args.bias = optional_vector<float>(bias, n, "bias");
  const Rows<const float> before = optional_rows(addend, m, n, "addend");
  const Rows<const float> after = optional_rows(residual, m, n, "residual");
  args.addend = before.data;
  args.addend_stride = before.stride;
  args.residual = after.data;
  args.residual_stride = after.stride;
  args.activation = activation_from(activation);
  args.out_scale = out_scale ? &*out_scale : nullptr;
  args.out_zero_point = out_zero_point;
  args.out = out_scale ? static_cast<void*>(matrix<std::int8_t>(out, m, n, args.out_stride, "out"))
                       : matrix<float>(out, m, n, args.out_stride, "out");
  const py::gil_scoped_release nogil;
  row.run(args);
}

// The largest of count bytes, and how many rows an index up to it takes.
std::int64_t rows_reached(const std::uint8_t* data, std::int64_t count) {
  return count == 0 ? 0 : 1 + *std::max_element(data, data + count);
}

void spmm_f32(const std::string& name, const py::array& count, const py::array& row,
              const py::array& column, const py::array& value, const py::array& x, py::array out) {
  const auto& kernel = row_named(kernel_rows<SpmmF32Args>(), name);
  SpmmF32Args args;
  args.slices = count32(row.size() / kSparseSlice, "row");
  const std::int64_t rows_in = std::int64_t{kSparseSlice} * args.slices;
  args.count = vector<std::uint16_t>(count, rows_in, "count");
  args.row = vector<std::uint8_t>(row, rows_in, "row");
  std::int64_t entries = 0;
  for (std::int64_t i = 0; i < rows_in; ++i) {
    if (i % kSparseSlice == 0) {
      entries += kSparseSlice * args.count[i];
    } else if (args.count[i] > args.count[i - 1]) {
      bad_argument("count", "falling values in a slice");
    }
  }
  args.column = vector<std::uint8_t>(column, entries, "column");
  args.value = vector<float>(value, entries, "value");
  if (x.ndim() != 2 || out.ndim() != 2) bad_argument("x, out", "two dimensions");
  const std::int64_t m = x.shape(1);
  if (m != 1 && (m % 16 != 0 || m < 16 || m > kSparseTile)) {
    bad_argument("x", "1, 16, 32, 48 or 64 columns");
  }
  args.x = contiguous<float>(x, 2, "x");
  args.out = writable<float>(out, "out");
  if (x.shape(0) < rows_reached(args.column, entries)) bad_argument("x", "more rows");
  if (out.shape(0) < rows_reached(args.row, rows_in) || out.shape(1) != m) {
    bad_argument("out", "more rows, or the width of x");
  }
  args.m = static_cast<std::int32_t>(m);
  const py::gil_scoped_release nogil;
  kernel.run(args);
}

}  // namespace

void register_kernels(py::module_& m) {
  using namespace pybind11::literals;
  m.def("kernel_gemm_s8", &gemm_s8, "name"_a, "a"_a, "a_abs_offset"_a, "b"_a, "b_panel_stride"_a,
        "b_orders"_a, "c"_a, "m"_a, "panels"_a, "k_groups"_a, "accumulate"_a);
  m.def(
      "kernel_gemm_s8_form",
      [](const std::string& name) {
        return name_of(kForms, row_named(kernel_rows<GemmS8Args>(), name).form);
      },
      "name"_a);
  m.def("kernel_pack_b", &pack_b, "b"_a, "flip"_a = std::uint8_t{0});
  m.def("kernel_repack_b", &repack_b, "b"_a, "flip"_a = std::uint8_t{0});
  m.def("kernel_quantize_rows", &quantize_rows, "name"_a, "x"_a, "form"_a, "symmetric"_a,
        "static_scale"_a, "static_zero_point"_a, "a"_a, "a_abs_offset"_a, "pad"_a, "scale"_a,
        "zero_point"_a, "multiplier"_a = py::none());
  m.def("kernel_epilogue", &epilogue, "name"_a, "acc"_a, "zero_point"_a, "col_sum"_a, "row_scale"_a,
        "col_scale"_a, "bias"_a, "addend"_a, "residual"_a, "activation"_a, "out"_a, "out_scale"_a,
        "out_zero_point"_a);
  m.def("kernel_spmm_f32", &spmm_f32, "name"_a, "count"_a, "row"_a, "column"_a, "value"_a, "x"_a,
        "out"_a);
}

}  // namespace octavo
