// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "bindings/gil.h"
#include "bindings/graph_arguments.h"
#include "bindings/register.h"

namespace octavo {
namespace {

void run(const GraphProgram& self, Array arena) {
  auto* bytes = writable<std::uint8_t>(arena, "arena");
  if (arena.ndim() != 1 || arena.size() < self.arena_bytes()) {
    bad_argument("arena", "as many bytes as the program was made for");
  }
  if (reinterpret_cast<std::uintptr_t>(bytes) % 16 != 0)
    bad_argument("arena", "memory aligned to 16");
  without_gil([&] { self.run(bytes); });
}

}  // namespace

void register_graph(nb::module_& m) {
  using namespace nanobind::literals;
  nb::class_<GraphProgram> program(m, "GraphProgram");
  program.def(nb::init<std::int64_t>(), "arena_bytes"_a)
      .def_prop_ro("nbytes", &GraphProgram::nbytes)
      .def("run", &run, "arena"_a);
  for (const auto* makers : {&window_steps(), &element_steps()}) {
    for (const StepMaker& step : *makers) {
      program.def(step.name, [make = step.make](GraphProgram& self, const nb::kwargs& arguments) {
        Keywords keywords(arguments);
        Step made = make(self, keywords);
        keywords.finish();
        self.add(std::move(made));
      });
    }
  }
}

}  // namespace octavo
