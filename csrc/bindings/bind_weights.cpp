// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <memory>
#include <utility>

#include "bindings/gil.h"
#include "bindings/packed_weight.h"
#include "bindings/register.h"
#include "weights/int4.h"

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
// them any more. group: of a weight of 4 bits, else 0.
std::unique_ptr<PackedWeight> attach_weight(const py::array& packed, std::int64_t n, std::int64_t k,
                                            const std::string& format, std::int64_t group) {
  const WeightFormat& weight_format = format_named(format);
  contiguous<std::uint8_t>(packed, 1, "packed");
  const std::int64_t most = group != 0 ? 1 << 30 : weight_format.most_inputs;
  const bool is_group = group == 0 || Int4Weight::is_group(group);
  if (n < 0 || n > 1 << 30 || k < 0 || k > most || !is_group) {
    bad_argument("n, k, group", "sizes of such a weight");
  }
  AlignedBuffer buffer = bytes_of(packed);
  return without_gil([&] {
    std::unique_ptr<Weight> weight =
        group == 0 ? weight_format.attach(std::move(buffer), n, k)
                   : std::make_unique<Int4Weight>(std::move(buffer), n, k, group);
    return std::unique_ptr<PackedWeight>(new PackedWeight{std::move(weight), weight_format.name});
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
  py::class_<PackedWeight>(m, "PackedWeight")
      .def(py::init(&attach_weight), "packed"_a, "n"_a, "k"_a, "format"_a = "dense", "group"_a = 0)
      .def("unpack", [](const PackedWeight& self) { return unpacked(*self.weight); })
      .def_property_readonly("packed", &packed_bytes)
      .def_property_readonly("nbytes",
                             [](const PackedWeight& self) { return self.weight->nbytes(); });
  refuse_uninitialised<PackedWeight>();
  m.def("format_cost", &format_cost, "codes"_a, "format"_a);
  m.def("weight_formats", &format_names);
}

}  // namespace octavo
