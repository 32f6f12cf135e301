# SPDX-License-Identifier: Apache-2.0
"""What llvm-mca predicts for the inner loops of the kernels, on cores that need not be here.

Nothing is run and nothing is measured: the kernels are compiled to assembly, and a model of each
core's pipes says how long the hottest loop takes if all loads hit L1 and all jumps are foreseen.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common import mca, workers
from common.loops import (
    FLOAT,
    INTEGER,
    TO_INTEGER,
    Loop,
    hottest,
    loops_of_assembly,
    loops_of_disassembly,
)
from octavo.bench import report
from octavo.report import theme

ROOT = Path(__file__).resolve().parents[1]
COMPILERS = {"gcc": "{}-linux-gnu-g++", "clang": "clang++-19"}
FEWEST = 16  # products of a loop in another library that counts
OURS = "octavo"
MARKERS = "osD^vPX*d"
COLORS = (*theme.SERIES, theme.INK)
HEADER = ("case", "isa", "engine", "core", "cycles", "MAC/cycle", "of published", "of model")
HINT = """\
Predicted by llvm-mca, not measured: all loads hit L1, all jumps are foreseen. 'of published' is the
share of the core's peak by the table in bench/common/mca.py, 'of model' of what llvm-mca gives."""


@dataclass(frozen=True)
class Case:
    """A loop: the one with the most instructions `found_by`; its `products` are counted.

    `given`, C++ that sets fields of the kernel's arguments, leave it fewer loops.
    """

    name: str
    family: str
    products: re.Pattern[str]
    found_by: re.Pattern[str]
    given: str = ""


ONE_ROW = "args.m = 1;"
GELU_TO_FLOAT = (
    "args.activation = octavo::Activation::kGelu; args.out_scale = nullptr;"
    "args.scaled = false; args.addend = nullptr; args.residual = nullptr;"
)
CASES = (
    Case("gemm_s8, many rows", "gemm_s8", INTEGER, INTEGER),
    Case("gemm_s8, one row", "gemm_s8", INTEGER, INTEGER, ONE_ROW),
    Case("gemm_s4, many rows", "gemm_s4", INTEGER, INTEGER),
    Case("gemm_s4, one row", "gemm_s4", INTEGER, INTEGER, ONE_ROW),
    Case("gemm_bsr16x4_s8", "gemm_bsr16x4_s8", INTEGER, INTEGER),
    Case("broadcast_bsr4x1_s8", "broadcast_bsr4x1_s8", INTEGER, INTEGER),
    Case("broadcast_bsr1x4_s8", "broadcast_bsr1x4_s8", INTEGER, INTEGER),
    Case("broadcast_windowed_s8", "broadcast_windowed_s8", INTEGER, INTEGER),
    Case("gather_s8", "gather_s8", INTEGER, INTEGER),
    Case("gemm_bitmap_s8", "gemm_bitmap_s8", INTEGER, INTEGER),
    Case("attention_block, products", "attention_block", INTEGER, INTEGER),
    Case("attention_block, exponentials", "attention_block", FLOAT, FLOAT),
    Case("gemm_f32, many rows", "gemm_f32", FLOAT, FLOAT),
    Case("spmm_f32", "spmm_f32", FLOAT, FLOAT),
    Case("epilogue, GELU", "epilogue", FLOAT, FLOAT, GELU_TO_FLOAT),
    Case("quantize_rows, codes", "quantize_rows", FLOAT, TO_INTEGER),
    Case("dequantize_linear", "dequantize_linear", FLOAT, FLOAT),
    Case("layer_norm", "layer_norm", FLOAT, FLOAT),
)
# Few rows go to the dot products of the tier below.
MANY_ROWS_ONLY = ("neon_i8mm",)


@dataclass(frozen=True)
class Line:
    """A row of the table."""

    case: str
    isa: str
    engine: str
    core: str
    step: int
    """Numbers that a step multiplies."""
    prediction: mca.Prediction

    def cells(self) -> tuple[str, ...]:
        made = self.prediction
        figures = f"{made.cycles:.1f}", f"{made.per_cycle:.1f}"
        shares = f"{made.of_published:.0%}", f"{made.of_model:.0%}"
        return (self.case, self.isa, self.engine, self.core, *figures, *shares)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "prediction": asdict(self.prediction)}


class Build:
    """The compile commands of one architecture, as CMake makes them."""

    def __init__(self, architecture: str, compiler: str, folder: Path) -> None:
        self.folder = folder / architecture
        program = COMPILERS[compiler].format(architecture)
        mca.require("cmake", "ninja", program)
        configure = ["cmake", "-S", str(ROOT), "-B", str(self.folder), "-G", "Ninja"]
        configure += ["-DOCTAVO_PYTHON=OFF", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON"]
        configure += [f"-DCMAKE_CXX_COMPILER={program}", "-DCMAKE_SYSTEM_NAME=Linux"]
        configure += [f"-DCMAKE_SYSTEM_PROCESSOR={architecture}"]
        if compiler == "clang":
            configure.append(f"-DCMAKE_CXX_COMPILER_TARGET={architecture}-linux-gnu")
        mca.run(configure)
        commands = json.loads((self.folder / "compile_commands.json").read_text(encoding="utf-8"))
        self.commands = {entry["file"]: shlex.split(entry["command"]) for entry in commands}

    def loops(self, case: Case, tier: str) -> list[Loop]:
        """Return the loops of a family's file for a tier; none where it has no such file."""
        ending = f"kernels/{case.family}/{tier}.cpp"
        file = next((name for name in self.commands if name.endswith(ending)), None)
        if file is None:
            return []
        source, function = file, None
        if case.given:
            source, function = str(self.folder / "given.cpp"), "given"
            Path(source).write_text(source_with(case, file, tier), encoding="utf-8")
        assembly = self.folder / "loops.s"
        command = self.commands[file]
        command = [*command[: command.index("-o")], "-S", "-o", str(assembly), source]
        mca.run(command, where=str(self.folder))
        return loops_of_assembly(assembly.read_text(encoding="utf-8"), function)


def source_with(case: Case, file: str, tier: str) -> str:
    """Return C++ whose function `given` is the tier's kernel with arguments that the case gives."""
    rows = (ROOT / "csrc" / "kernels" / case.family / "kernels.inc").read_text(encoding="utf-8")
    row = re.search(rf"OCTAVO_KERNEL\((\w+), \w+,\s+(\w+_{tier})\b", rows)
    if row is None:
        raise mca.ToolError(f"kernels.inc of {case.family} has no kernel that ends in _{tier}")
    return (
        f'#include "{file}"\n'
        'extern "C" __attribute__((flatten, visibility("default")))\n'
        f"void given(octavo::{row[1]}Args args) {{ {case.given} octavo::{row[2]}(args); }}\n"
    )


def own_lines(cases: Sequence[Case], compiler: str) -> Iterator[Line]:
    """Yield the rows of this project's kernels."""
    with tempfile.TemporaryDirectory(prefix="octavo-static-") as folder:
        builds: dict[str, Build] = {}
        for core in mca.CORES:
            if core.architecture not in builds:
                builds[core.architecture] = Build(core.architecture, compiler, Path(folder))
        for case in cases:
            loops: dict[str, Loop | None] = {}
            for core in mca.CORES:
                for tier in core.tiers:
                    if case.given == ONE_ROW and tier in MANY_ROWS_ONLY:
                        continue
                    if tier not in loops:
                        found = builds[core.architecture].loops(case, tier)
                        loops[tier] = hottest(found, case.found_by)
                        if found and loops[tier] is None:
                            workers.say(f"{case.name}, {tier}: multiplies no vectors, left out")
                    yield from lines_of(case, tier, OURS, core, loops[tier])


def lines_of(
    case: Case, tier: str, engine: str, core: mca.Core, loop: Loop | None
) -> Iterator[Line]:
    """Yield the row of a loop on a core, none where the loop multiplies no vectors."""
    if loop is not None and loop.chosen(case.products):
        made = mca.predict(core, loop, case.products)
        yield Line(case.name, tier, engine, core.name, loop.work(case.products), made)


def library_lines(library: Path, engine: str) -> Iterator[Line]:
    """Yield for each core the best of the int8 loops in another library's aarch64 binary."""
    mca.require("llvm-objdump-19")
    command = ["llvm-objdump-19", "-d", "--no-show-raw-insn", "--no-leading-headers"]
    text = mca.run([*command, str(library)])
    loops = list(dict.fromkeys(loops_of_disassembly(text.splitlines())))
    for tier, name in (("neon_dotprod", r"[su]dot"), ("neon_i8mm", r"u?s?mmla|ummla|usdot|sudot")):
        kind = re.compile(name)
        hot = [loop for loop in loops if len(loop.chosen(kind)) >= FEWEST]
        hot = [loop for loop in hot if loop.chosen(kind) == loop.chosen(INTEGER)]
        for core in mca.CORES:
            if tier in core.tiers:
                found = [
                    line for loop in hot for line in lines_of(CASES[0], tier, engine, core, loop)
                ]
                yield from sorted(found, key=lambda line: line.prediction.per_cycle)[-1:]


def ordered(lines: Sequence[Line]) -> list[Line]:
    """Sort by case, tier, engine and core, in the order in which these are listed."""
    cases = [case.name for case in CASES]
    tiers = list(dict.fromkeys(tier for core in mca.CORES for tier in core.tiers))
    cores = [core.name for core in mca.CORES]
    return sorted(
        lines,
        key=lambda line: (
            cases.index(line.case),
            tiers.index(line.isa),
            line.engine != OURS,
            cores.index(line.core),
        ),
    )


def draw(lines: Sequence[Line], path: Path) -> None:
    """Draw the share of the published peak: a line of the plot per loop, a mark per core."""

    def name(line: Line) -> str:
        engine = "" if line.engine == OURS else f", {line.engine}"
        return f"{line.case}, {line.isa}{engine}"

    names = list(dict.fromkeys(map(name, lines)))
    with theme.style():
        figure, axes = theme.figure(9.0, 1.2 + 0.22 * len(names))
        for core, marker, color in zip(mca.CORES, MARKERS, COLORS, strict=True):
            shown = [line for line in lines if line.core == core.name]
            axes.scatter(
                [line.prediction.of_published for line in shown],
                [names.index(name(line)) for line in shown],
                label=core.name,
                marker=marker,
                facecolor="none",
                edgecolor=color,
                s=34,
            )
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.3, -0.7)
        axes.set_xlim(0, 1.03)
        axes.xaxis.set_major_formatter("{x:.0%}")
        axes.set_xlabel("share of the core's published peak, predicted by llvm-mca, not measured")
        figure.legend(loc="outside upper center", ncols=5)
        with path.open("wb") as stream:
            theme.save(figure, stream, path.suffix[1:], theme.PAPER)


def main(argv: Sequence[str] | None = None) -> int:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--json", metavar="FILE", help="write the results to FILE")
    made.add_argument("--plot", metavar="FILE", type=Path, help="draw them, as .svg or .png")
    made.add_argument("--quick", action="store_true", help="only gemm_s8, many rows")
    made.add_argument("--compiler", choices=tuple(COMPILERS), default="gcc")
    made.add_argument("--library", metavar="FILE", type=Path, help="aarch64 library to compare")
    made.add_argument("--engine", metavar="NAME", help="its name in the table (default: its file)")
    arguments = made.parse_args(argv)
    if arguments.plot is not None and arguments.plot.suffix not in (".svg", ".png"):
        made.error(f"--plot: expected a file that ends in .svg or .png, got {arguments.plot}")
    if arguments.library is not None and not arguments.library.is_file():
        made.error(f"--library: expected a file, got {arguments.library}")
    try:
        mca.require(mca.LLVM_MCA)
        if arguments.plot is not None:
            theme.require_matplotlib()
        # Clang does not drop the paths that given arguments never take.
        usable = [case for case in CASES if arguments.compiler == "gcc" or not case.given]
        lines = list(own_lines(usable[:1] if arguments.quick else usable, arguments.compiler))
        if arguments.library is not None:
            lines += library_lines(arguments.library, arguments.engine or arguments.library.name)
    except (mca.ToolError, ModuleNotFoundError) as error:
        raise SystemExit(str(error)) from error
    lines = ordered(lines)
    workers.say(report.table(HEADER, [line.cells() for line in lines]))
    workers.say(HINT)
    if arguments.plot is not None:
        draw(lines, arguments.plot)
    settings = {"compiler": arguments.compiler, "steps": mca.STEPS}
    loops = [line.to_json() for line in lines]
    document = report.document("static_model", [], settings, loops=loops, measured=False)
    workers.finish(arguments.json, document)
    return 0


if __name__ == "__main__":
    sys.exit(main())
