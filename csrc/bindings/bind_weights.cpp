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
  if (format == nullptr) throw py::value_error("format: unknown name '" + name + "'");
  return *format;
}

const std::int8_t* checked_codes(const py::array& codes, const WeightFormat& format) {
  const auto* c = contiguous<std::int8_t>(codes, 2, "codes");
  const py::ssize_t n = codes.shape(0), k = codes.shape(1);
  if (k > format.most_inputs) {
    const std::string most = std::to_string(format.most_inputs);
    bad_argument("codes", ("at most " + most + " columns in the format " + format.name).c_str());
  }
  if (n > (1 << 30)) bad_argument("codes", "at most 2**30 rows");
  return c;
}

py::array_t<std::int8_t> unpacked(const Weight& weight) {
  py::array_t<std::int8_t> out({weight.n(), weight.k()});
  std::int8_t* data = out.mutable_data();
  without_gil([&] { weight.unpack(data); });
  return out;
}

AlignedBuffer bytes_of(const py::array& packed) {
  // What lets go of the last weight may be a thread that does not hold the GIL.
  const auto let_go = [](const py::object* array) {
    const py::gil_scoped_acquire gil;
    delete array;
  };
  const std::shared_ptr<const py::object> keeper(new py::object(packed), let_go);
  return {packed.data(), static_cast<std::size_t>(packed.nbytes()), keeper};
}

namespace {

// A view of bytes that PackedWeight::packed gave, here or in another process; nobody may write to
// them any more. format: null for a grouped weight.
std::unique_ptr<PackedWeight> attach_weight(const py::array& packed, std::int64_t n, std::int64_t k,
                                            const std::optional<std::string>& name) {
  const WeightFormat& format = name ? format_named(*name) : weight_formats().front();
  contiguous<std::uint8_t>(packed, 1, "packed");
  if (n < 0 || n > 1 << 30 || k < 0 || k > (name ? format.most_inputs : kMostGroupedInputs)) {
    bad_argument("n, k", "sizes of such a weight");
  }
  AlignedBuffer buffer = bytes_of(packed);
  return without_gil([&] {
    std::unique_ptr<Weight> weight = name
                                         ? format.attach(std::move(buffer), n, k)
                                         : std::make_unique<GroupedWeight>(std::move(buffer), n, k);
    return std::unique_ptr<PackedWeight>(new PackedWeight{std::move(weight), format.name});
  });
}

py::array packed_bytes(const py::object& self) {
  const AlignedBuffer& held = self.cast<const PackedWeight&>().weight->packed();
  return read_only(self, held.as<std::uint8_t>(), static_cast<std::int64_t>(held.size()));
}

// Units of work, at least 1, and bytes of codes in a format, for the tier in use.
py::tuple format_cost(const py::array& codes, const std::string& format) {
  const WeightFormat& weight_format = format_named(format);
  const std::int8_t* c = checked_codes(codes, weight_format);
  const py::ssize_t n = codes.shape(0), k = codes.shape(1);
  const FormatCost cost = without_gil([&] { return weight_format.cost(c, n, k, active_isas()); });
  return py::make_tuple(std::max<std::int64_t>(cost.units, 1), cost.nbytes);
}

std::vector<std::string> format_names() {
  std::vector<std::string> names;
  for (const WeightFormat& format : weight_formats()) names.emplace_back(format.name);
  return names;
}

}  // namespace

void register_weights(py::module_& m) {
  using namespace pybind11::literals;
  py::class_<PackedWeight> weight(m, "PackedWeight");
  weight.def(py::init(&attach_weight), "packed"_a, "n"_a, "k"_a, "format"_a = "dense")
      .def("unpack", [](const PackedWeight& self) { return unpacked(*self.weight); })
      .def_property_readonly("packed", &packed_bytes)
      .def_property_readonly("nbytes",
                             [](const PackedWeight& self) { return self.weight->nbytes(); });
  register_grouped(m, weight);
  refuse_uninitialised<PackedWeight>();
  m.def("format_cost", &format_cost, "codes"_a, "format"_a);
  m.def("weight_formats", &format_names);
}

}  // namespace octavo
