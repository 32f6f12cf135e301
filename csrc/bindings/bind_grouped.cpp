// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include "bindings/gil.h"
#include "bindings/grouped.h"

namespace octavo {
namespace {

using OptionalArray = std::optional<Array>;

// Numbers of groups: float32, float16, or uint8 steps of units.
GroupNumbers numbers_of(const OptionalArray& values, const OptionalArray& units) {
  if (!values) return GroupNumbers::kNone;
  if (units) return GroupNumbers::kSteps;
  return values->has_type(kFloat16) ? GroupNumbers::kFloat16 : GroupNumbers::kFloat32;
}

void check_shape(const Array& array, std::int64_t n, std::int64_t count, const char* name) {
  if (!array.is_contiguous() || array.ndim() != 2 || array.shape(0) != n ||
      array.shape(1) != count) {
    bad_argument(name, "one value per row and group of codes, or 8 groups of units");
  }
}

GroupValues checked_values(const OptionalArray& values, const OptionalArray& units, std::int64_t n,
                           std::int64_t groups, const char* name) {
  if (!values) return {nullptr, nullptr};
  check_shape(*values, n, groups, name);
  const void* data = values->data();
  if (!units) {
    if (!values->has_type(kFloat16) && !values->has_type(kElement<float>)) {
      bad_argument(name, "float32 or float16");
    }
    return {data, nullptr};
  }
  check_shape(*units, n, ceil_div(groups, kGroupsPerUnit), name);
  if (!values->has_type(kElement<std::uint8_t>) || !units->has_type(kFloat16)) {
    bad_argument(name, "uint8 steps of float16 units");
  }
  return {data, units->as<const std::uint16_t>()};
}

// Each input once. The caller's array may change meanwhile: this is a copy.
std::vector<std::int32_t> checked_order(const Array& order, std::int64_t k) {
  std::vector<std::int32_t> own = copied(contiguous<std::int32_t>(order, 1, "order"), order.size());
  const bool fits =
      static_cast<std::int64_t>(own.size()) == k && GroupedWeight::is_order(own.data(), k);
  if (!fits) bad_argument("order", "every input once");
  return own;
}

PackedWeight grouped_weight(const Array& codes, int bits, std::int64_t group, const Array& scale,
                            const OptionalArray& scale_unit, const OptionalArray& minimum,
                            const OptionalArray& minimum_unit, const OptionalArray& order) {
  GroupedForm form;
  form.bits = bits;
  form.group = static_cast<std::int32_t>(std::clamp<std::int64_t>(group, 0, 1 << 20));
  form.scale = numbers_of(scale, scale_unit);
  form.minimum = numbers_of(minimum, minimum_unit);
  form.ordered = order.has_value();
  if (!form.is_valid()) bad_argument("bits, group", "4, 5 or 8 bits in groups of 32, 64 or 128");
  const void* c = minimum ? static_cast<const void*>(contiguous<std::uint8_t>(codes, 2, "codes"))
                          : contiguous<std::int8_t>(codes, 2, "codes");
  const std::int64_t n = codes.shape(0), k = codes.shape(1);
  if (n > (1 << 30) || k > kMostGroupedInputs) {
    bad_argument("codes", "at most 2**30 rows and columns");
  }
  const std::int64_t groups = ceil_div(k, group);
  const GroupValues scales = checked_values(scale, scale_unit, n, groups, "scale");
  const GroupValues minima = checked_values(minimum, minimum_unit, n, groups, "minimum");
  std::vector<std::int32_t> own_order;
  if (order) own_order = checked_order(*order, k);
  return without_gil([&] {
    // Another thread may still write to them: packing takes the bits of each, whatever they are.
    const auto* first = static_cast<const std::uint8_t*>(c);
    const auto fits = [&](std::uint8_t code) { return (code + form.offset()) % 256 >> bits == 0; };
    for (std::int64_t row = 0; row < n; ++row, first += k) {
      interruption_point();
      if (!std::all_of(first, first + k, fits)) bad_argument("codes", "values of as many bits");
    }
    return PackedWeight{std::make_unique<GroupedWeight>(form, static_cast<const std::uint8_t*>(c),
                                                        scales, minima, own_order.data(), n, k),
                        weight_formats().front().name};
  });
}

const GroupedWeight& grouped(const PackedWeight& self) {
  const auto* weight = dynamic_cast<const GroupedWeight*>(self.weight.get());
  if (weight == nullptr) bad_argument("self", "scales of groups of inputs");
  return *weight;
}

nb::object name_of(GroupNumbers kind) {
  switch (kind) {
    case GroupNumbers::kFloat32: return nb::str("float32");
    case GroupNumbers::kFloat16: return nb::str("float16");
    case GroupNumbers::kSteps: return nb::str("steps");
    case GroupNumbers::kNone: break;
  }
  return nb::none();
}

// bits, group, how scales and minima are held, whether there is an order.
nb::tuple form_of(const PackedWeight& self) {
  const GroupedForm& form = grouped(self).form();
  return nb::make_tuple(form.bits, form.group, name_of(form.scale), name_of(form.minimum),
                        form.ordered != 0);
}

Array empty_numbers(GroupNumbers kind, std::int64_t n, std::int64_t count) {
  const ElementType& numbers = kind == GroupNumbers::kFloat32 ? kElement<float> : kFloat16;
  return new_array({n, count},
                   Dtype(kind == GroupNumbers::kSteps ? kElement<std::uint8_t> : numbers));
}

// scale, its units, minimum, its units, order: as they were given, None where there are none.
nb::tuple numbers(const PackedWeight& self) {
  const GroupedWeight& weight = grouped(self);
  const GroupedForm& form = weight.form();
  const auto both = [&](GroupNumbers kind, auto unpack) -> nb::tuple {
    if (kind == GroupNumbers::kNone) return nb::make_tuple(nb::none(), nb::none());
    Array values = empty_numbers(kind, weight.n(), weight.groups());
    if (kind != GroupNumbers::kSteps) {
      unpack(values.data(), nullptr);
      return nb::make_tuple(values, nb::none());
    }
    Array units = empty_numbers(GroupNumbers::kFloat16, weight.n(), weight.units());
    unpack(values.data(), units.as<std::uint16_t>());
    return nb::make_tuple(values, units);
  };
  const nb::tuple scale =
      both(form.scale, [&](void* out, std::uint16_t* units) { weight.unpack_scale(out, units); });
  const nb::tuple minimum = both(
      form.minimum, [&](void* out, std::uint16_t* units) { weight.unpack_minimum(out, units); });
  nb::object order = nb::none();
  if (form.ordered) {
    const Array own = new_array<std::int32_t>({weight.k()});
    std::copy_n(weight.order(), weight.k(), own.as<std::int32_t>());
    order = own;
  }
  return nb::make_tuple(scale[0], scale[1], minimum[0], minimum[1], order);
}

// Rows as float32.
void rows_of(const PackedWeight& self, const Array& ids, const Array& out) {
  const GroupedWeight& weight = grouped(self);
  const std::int64_t count = ids.size();
  const std::vector<std::int64_t> own = copied(contiguous<std::int64_t>(ids, 1, "ids"), count);
  auto* result = writable<float>(out, "out");
  if (out.size() != checked_mul(count, weight.k())) bad_argument("out", "shape (len(ids), K)");
  const auto is_row = [&](std::int64_t id) { return id >= 0 && id < weight.n(); };
  if (!std::all_of(own.begin(), own.end(), is_row)) bad_argument("ids", "row numbers");
  without_gil([&] { weight.rows(own.data(), count, result); });
}

}  // namespace

void register_grouped(nb::module_& m, nb::class_<PackedWeight>& weight) {
  using namespace nanobind::literals;
  weight.def("numbers", &numbers)
      .def("rows", &rows_of, "ids"_a, "out"_a)
      .def_prop_ro("form", &form_of);
  m.def("grouped_weight", &grouped_weight, "codes"_a, "bits"_a, "group"_a, "scale"_a,
        "scale_unit"_a = nb::none(), "minimum"_a = nb::none(), "minimum_unit"_a = nb::none(),
        "order"_a = nb::none());
}

}  // namespace octavo
