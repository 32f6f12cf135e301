// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <memory>
#include <utility>

#include "bindings/gil.h"
#include "bindings/grouped.h"
#include "bindings/packed_weight.h"
#include "bindings/register.h"

namespace octavo {

const WeightFormat& format_named(const std::string& name) {
  const WeightFormat* format = find_weight_format(name);
  if (format == nullptr) throw nb::value_error(("format: unknown name '" + name + "'").c_str());
  return *format;
}

const std::int8_t* checked_codes(const Array& codes, const WeightFormat& format) {
  const auto* c = contiguous<std::int8_t>(codes, 2, "codes");
  const Py_ssize_t n = codes.shape(0), k = codes.shape(1);
  if (k > format.most_inputs) {
    const std::string most = std::to_string(format.most_inputs);
    bad_argument("codes", ("at most " + most + " columns in the format " + format.name).c_str());
  }
  if (n > (1 << 30)) bad_argument("codes", "at most 2**30 rows");
  return c;
}

Array unpacked(const Weight& weight) {
  Array out = new_array<std::int8_t>({weight.n(), weight.k()});
  auto* data = out.as<std::int8_t>();
  without_gil([&] { weight.unpack(data); });
  return out;
}

AlignedBuffer bytes_of(const Array& packed) {
  // What lets go of the last weight may be a thread that does not hold the GIL.
  const auto let_go = [](const nb::object* array) {
    const nb::gil_scoped_acquire gil;
    delete array;
  };
  const std::shared_ptr<const nb::object> keeper(new nb::object(packed), let_go);
  return {packed.data(), static_cast<std::size_t>(packed.size() * packed.itemsize()), keeper};
}

namespace {

// A view of bytes that PackedWeight::packed gave, here or in another process; nobody may write to
// them any more. format: null for a grouped weight.
void attach_weight(PackedWeight* self, const Array& packed, std::int64_t n, std::int64_t k,
                   const std::optional<std::string>& name) {
  const WeightFormat& format = name ? format_named(*name) : weight_formats().front();
  contiguous<std::uint8_t>(packed, 1, "packed");
  if (n < 0 || n > 1 << 30 || k < 0 || k > (name ? format.most_inputs : kMostGroupedInputs)) {
    bad_argument("n, k", "sizes of such a weight");
  }
  AlignedBuffer buffer = bytes_of(packed);
  new (self) PackedWeight(without_gil([&] {
    std::unique_ptr<Weight> weight = name
                                         ? format.attach(std::move(buffer), n, k)
                                         : std::make_unique<GroupedWeight>(std::move(buffer), n, k);
    return PackedWeight{std::move(weight), format.name};
  }));
}

Array packed_bytes(nb::pointer_and_handle<PackedWeight> self) {
  const AlignedBuffer& held = self.p->weight->packed();
  return read_only(self.h, held.as<std::uint8_t>(), static_cast<std::int64_t>(held.size()));
}

// Units of work, at least 1, and bytes of codes in a format, for the tier in use.
nb::tuple format_cost(const Array& codes, const std::string& format) {
  const WeightFormat& weight_format = format_named(format);
  const std::int8_t* c = checked_codes(codes, weight_format);
  const Py_ssize_t n = codes.shape(0), k = codes.shape(1);
  const FormatCost cost = without_gil([&] { return weight_format.cost(c, n, k, active_isas()); });
  return nb::make_tuple(std::max<std::int64_t>(cost.units, 1), cost.nbytes);
}

std::vector<std::string> format_names() {
  std::vector<std::string> names;
  for (const WeightFormat& format : weight_formats()) names.emplace_back(format.name);
  return names;
}

}  // namespace

void register_weights(nb::module_& m) {
  using namespace nanobind::literals;
  nb::class_<PackedWeight> weight(m, "PackedWeight");
  weight.def("__init__", &attach_weight, "packed"_a, "n"_a, "k"_a, "format"_a = "dense")
      .def("unpack", [](const PackedWeight& self) { return unpacked(*self.weight); })
      .def_prop_ro("packed", &packed_bytes)
      .def_prop_ro("nbytes", [](const PackedWeight& self) { return self.weight->nbytes(); });
  register_grouped(m, weight);
  m.def("format_cost", &format_cost, "codes"_a, "format"_a);
  m.def("weight_formats", &format_names);
}

}  // namespace octavo
