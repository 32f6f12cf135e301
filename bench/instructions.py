# SPDX-License-Identifier: Apache-2.0
"""How many instructions the kernels execute for an output, counted under qemu.

Counted, not measured: an emulator executes the program exactly, and says nothing of its speed.
Each case of octavo_bench is called N and 2 N times on one thread and the difference taken, so that
set-up falls out; what is left is one call, with quantizing and making outputs where the case has
them.  NumPy's float32 product is counted the same way, in the layout it takes fewer for.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from common import mca, workers
from common.targets import Target, at_least, format_table
from octavo.bench import report

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "instructions"
ARM_PYTHON = ROOT / "build" / "aarch64-python"
OURS = "octavo"
NUMPY = "numpy"
CASES = (
    "gemm_s8 1x768x768",
    "gemm_s8 128x768x768",
    "linear_s8 1x768x768",
    "linear_s8 128x768x768",
    "sparse_s8 1x768x768",
    "sparse_s8 128x768x768",
    "linear_f32 1x768x768",
    "linear_f32 128x768x768",
    "quantize_rows 128x768",
    "dequantize 128x768",
    "epilogue 128x768",
    "layer_norm 128x384",
    "attention_s8 128x384",
)
QUICK = CASES[:1]
PRODUCTS = ("1x768x768", "128x768x768")
NUMPY_CALLS = {"1x768x768": 20, "128x768x768": 1}
"""A start of Python differs from the next by some thousand instructions, a 50th of one call's."""
MULTIPLY = """
import sys
import numpy as np
m, n, k = map(int, sys.argv[1].split("x"))
x = np.ones((m, k), np.float32)
w = np.ones((k, n), np.float32) if sys.argv[2] == "rows" else np.ones((n, k), np.float32).T
out = np.empty((m, n), np.float32)
for _ in range(int(sys.argv[3])):
    np.matmul(x, w, out=out)
"""


@dataclass(frozen=True)
class Cpu:
    """A CPU of qemu's that has a tier, and what NumPy is told there."""

    architecture: str
    tier: str
    model: str
    environment: Mapping[str, str] = field(default_factory=dict)


# OpenBLAS does not know qemu's "max", which besides has registers of 512 bits for SVE, as no phone
# has: of the ARM cores that it knows, it takes fewest instructions for Neoverse N1.
CPUS = (
    Cpu("aarch64", "scalar", "cortex-a53"),
    Cpu("aarch64", "neon", "cortex-a53"),
    Cpu("aarch64", "neon_dotprod", "cortex-a76"),
    Cpu("aarch64", "neon_i8mm", "max,sve-max-vq=1", {"OPENBLAS_CORETYPE": "NEOVERSEN1"}),
    Cpu("x86_64", "scalar", "max", {"OPENBLAS_CORETYPE": "Haswell"}),
    Cpu("x86_64", "sse41", "max", {"OPENBLAS_CORETYPE": "Haswell"}),
    Cpu("x86_64", "avx2", "max", {"OPENBLAS_CORETYPE": "Haswell"}),
)


@dataclass(frozen=True)
class Count:
    """Instructions of one call."""

    case: str
    engine: str
    architecture: str
    tier: str
    instructions: float

    @property
    def per_output(self) -> float:
        rows, columns, *_ = map(int, self.case.split()[-1].split("x"))
        return self.instructions / (rows * columns)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "per_output": self.per_output}


class Counter:
    """qemu with the plugin that counts."""

    def __init__(self, folder: Path) -> None:
        mca.require("g++", "qemu-aarch64", "qemu-x86_64")
        self.plugin, self.result = folder / "libcount.so", folder / "count"
        source = str(ROOT / "bench" / "cpp" / "count_plugin.cpp")
        mca.run(["g++", "-O2", "-shared", "-fPIC", "-o", str(self.plugin), source])

    def total(self, cpu: Cpu, command: Sequence[str], environment: Mapping[str, str]) -> int:
        """Return how many instructions a program executes on a CPU."""
        plugin = f"{self.plugin},out={self.result}"
        emulator = [f"qemu-{cpu.architecture}", "-cpu", cpu.model, "-plugin", plugin]
        kept = {name: text for name, text in os.environ.items() if "OPENBLAS" not in name}
        done = subprocess.run(
            [*emulator, *command], env={**kept, **environment}, capture_output=True, check=False
        )
        if done.returncode:
            message = done.stderr.decode(errors="replace").strip()[-400:]
            what = f"{emulator[0]} -cpu {cpu.model} {' '.join(command)[:200]}"
            raise mca.ToolError(f"{what}: exit code {done.returncode}: {message}")
        return int(self.result.read_text("ascii"))

    def each(
        self, cpu: Cpu, command: Sequence[str], calls: int, environment: Mapping[str, str]
    ) -> float:
        """Return the instructions of a call; the command's last argument is how many it makes."""
        once = self.total(cpu, [*command, str(calls)], environment)
        twice = self.total(cpu, [*command, str(2 * calls)], environment)
        return (twice - once) / calls


def build_program(architecture: str) -> str:
    """Build octavo_bench without shared libraries and return its path."""
    mca.require("cmake", "ninja", f"{architecture}-linux-gnu-g++")
    tool = ROOT / "tools" / "google_benchmark.py"
    library = mca.run([sys.executable, str(tool), architecture]).strip().splitlines()[-1]
    folder = BUILD / architecture
    settings = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_CXX_COMPILER": f"{architecture}-linux-gnu-g++",
        "CMAKE_EXE_LINKER_FLAGS": "-static",
        "CMAKE_SYSTEM_NAME": "Linux",
        "CMAKE_SYSTEM_PROCESSOR": architecture,
        "OCTAVO_BENCH": "ON",
        "OCTAVO_PYTHON": "OFF",
        "benchmark_ROOT": library,
    }
    options = [f"-D{name}={value}" for name, value in settings.items()]
    mca.run(["cmake", "-S", str(ROOT), "-B", str(folder), "-G", "Ninja", *options])
    mca.run(["cmake", "--build", str(folder), "--target", "octavo_bench"])
    return str(folder / "bench" / "cpp" / "octavo_bench")


def own_counts(counter: Counter, cpu: Cpu, program: str, cases: Sequence[str]) -> Iterator[Count]:
    for case in cases:
        command = [program, "--tier", cpu.tier, "--only", f"kernel {case}", "--calls"]
        found = counter.each(cpu, command, 1, {})
        yield Count(case, OURS, cpu.architecture, cpu.tier, found)


def numpy_products(counter: Counter, cpu: Cpu) -> dict[str, float]:
    """Return NumPy's float32 products by shape; none where there is no Python of a CPU's kind."""
    environment = {"OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0", **cpu.environment}
    python = [sys.executable]
    if cpu.architecture == "aarch64":
        system = ARM_PYTHON / "system"
        if not system.is_dir():
            return {}
        python = ["-L", str(system), str((system / "usr" / "bin" / "python3").resolve())]
        environment["PYTHONPATH"] = str(ARM_PYTHON / "site")
    made = {}
    for shape in PRODUCTS:
        commands = ([*python, "-c", MULTIPLY, shape, layout] for layout in ("rows", "columns"))
        calls = NUMPY_CALLS[shape]
        made[shape] = min(counter.each(cpu, one, calls, environment) for one in commands)
    return made


def count_all(cpus: Sequence[Cpu], quick: bool) -> Iterator[Count]:
    programs: dict[str, str] = {}
    products: dict[tuple[str, str], dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="octavo-count-") as folder:
        counter = Counter(Path(folder))
        for cpu in cpus:
            name, model = cpu.architecture, (cpu.architecture, cpu.model)
            programs[name] = programs.get(name) or build_program(name)
            yield from own_counts(counter, cpu, programs[name], QUICK if quick else CASES)
            if not quick and model not in products:
                products[model] = numpy_products(counter, cpu)
            for shape, found in products.get(model, {}).items():
                yield Count(f"float32 {shape}", NUMPY, name, cpu.tier, found)


def tables(counts: Sequence[Count]) -> Iterator[str]:
    """Yield a table for each architecture: a line for each case, a column for each tier."""
    for architecture in dict.fromkeys(count.architecture for count in counts):
        mine = [count for count in counts if count.architecture == architecture]
        tiers = list(dict.fromkeys(count.tier for count in mine))
        found = {(count.engine, count.case, count.tier): count.per_output for count in mine}
        lines = []
        for engine, case in dict.fromkeys((count.engine, count.case) for count in mine):
            values = (found.get((engine, case, tier)) for tier in tiers)
            cells = ("" if value is None else f"{value:.1f}" for value in values)
            lines.append((case, engine, *cells))
        yield report.table((f"instructions an output, {architecture}", "engine", *tiers), lines)


def targets(counts: Sequence[Count]) -> list[Target]:
    """Return how far int8 products are under NumPy's in float32."""
    found = {(one.case, one.architecture, one.tier): one.instructions for one in counts}

    def ratios(tier: str, shapes: Sequence[str]) -> list[tuple[float, str]]:
        made = []
        for shape in shapes:
            ours = found.get((f"gemm_s8 {shape}", "aarch64", tier))
            theirs = found.get((f"float32 {shape}", "aarch64", tier))
            if ours and theirs:
                made.append((theirs / ours, shape))
        return made

    name = "fewer instructions than NumPy's float32, gemm_s8,"
    return [
        at_least(f"{name} neon_dotprod", 3.0, ratios("neon_dotprod", PRODUCTS)),
        # A row alone goes to the dot products of the tier below.
        at_least(f"{name} neon_i8mm", 6.0, ratios("neon_i8mm", PRODUCTS[1:])),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    made = workers.parser(__doc__ or "")
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("--only", metavar="WORD", help="an architecture, or a tier")
    arguments = made.parse_args(argv)
    cpus = [cpu for cpu in CPUS if arguments.only in (None, cpu.architecture, cpu.tier)]
    if not cpus:
        words = dict.fromkeys(word for cpu in CPUS for word in (cpu.architecture, cpu.tier))
        made.error(f"--only: expected one of {', '.join(words)}, got {arguments.only!r}")
    try:
        counts = list(count_all(cpus, arguments.quick))
    except mca.ToolError as error:
        raise SystemExit(str(error)) from error
    for table in tables(counts):
        workers.say(table + "\n")
    engines = {count.engine for count in counts if count.architecture == "aarch64"}
    if engines == {OURS} and not arguments.quick:
        workers.say("NumPy on aarch64: left out; `nox -s aarch64` makes a Python for it\n")
    reached = targets(counts)
    workers.say(format_table(reached))
    document = report.document(
        "instructions",
        [],
        {},
        counts=[count.to_json() for count in counts],
        targets=[target.to_json() for target in reached],
        measured=False,
    )
    workers.finish(arguments.json, document)
    return 0


if __name__ == "__main__":
    sys.exit(main())
