# SPDX-License-Identifier: Apache-2.0
"""The cores whose pipes llvm-mca knows, and what it predicts for a loop on them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from common.loops import FLOAT, Loop, register_bytes

LLVM_MCA = "llvm-mca-19"
STEPS = 200

PACKAGES = {
    "llvm-mca-19": "llvm-19",
    "llvm-objdump-19": "llvm-19",
    "cmake": "cmake",
    "ninja": "ninja-build",
    "x86_64-linux-gnu-g++": "g++-x86-64-linux-gnu",
    "aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu",
    "clang++-19": "clang-19",
}
"""Tool -> Debian's package."""


@dataclass(frozen=True)
class Core:
    """A core and its published peaks: bytes of vector registers that it multiplies in a cycle."""

    name: str
    stands_for: str
    architecture: str
    tiers: tuple[str, ...]
    dot: int  # sdot, smmla, vpdpbusd; pmaddubsw and pmaddwd on x86
    multiply: int  # smull and smlal to int16
    fma: int


# Throughput times register width as LLVM 19's scheduling models have it, which cite the makers'
# optimization manuals. Set by hand, from public descriptions of the cores, where the models differ:
# fma of Cortex-A55, two 64-bit halves (LLVM: twice as fast); 512 bits on Sapphire Rapids, two
# multipliers (LLVM: one); vpdpbusd on Zen 4, 512 bits a cycle (LLVM: half); Goldmont, a multiply of
# 128 bits a cycle (LLVM: Silvermont's half). Cortex-A510 is that with two 128-bit units of its own.
CORES = (
    Core("cortex-a55", "", "aarch64", ("neon", "neon_dotprod"), 16, 16, 16),
    Core("cortex-a510", "", "aarch64", ("neon", "neon_dotprod", "neon_i8mm"), 32, 32, 32),
    Core("neoverse-n1", "Cortex-A76", "aarch64", ("neon", "neon_dotprod"), 32, 16, 32),
    Core("neoverse-v2", "Cortex-X2", "aarch64", ("neon", "neon_dotprod", "neon_i8mm"), 64, 32, 64),
    Core("goldmont", "", "x86_64", ("scalar", "sse41"), 16, 16, 16),
    Core("alderlake", "", "x86_64", ("avx2", "avxvnni"), 64, 64, 64),
    Core("sapphirerapids", "", "x86_64", ("avx512vnni", "avx512vbmi2"), 128, 128, 128),
    Core("znver3", "", "x86_64", ("avx2",), 64, 64, 64),
    Core("znver4", "", "x86_64", ("avx2", "avx512vnni", "avx512vbmi2"), 64, 64, 64),
)


@dataclass(frozen=True)
class Prediction:
    """What a loop does on a core, a step."""

    cycles: float
    per_cycle: float  # multiply-adds
    of_published: float
    of_model: float


class ToolError(RuntimeError):
    """A tool is missing or failed; the message says which."""


def require(*tools: str) -> None:
    """Raise ToolError naming the packages of the tools that are missing."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        packages = sorted({PACKAGES[tool] for tool in missing})
        raise ToolError(f"missing {', '.join(missing)}: apt install {' '.join(packages)}")


def run(command: Sequence[str], text: str | None = None, where: str | None = None) -> str:
    """Return what a tool prints."""
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, check=False, cwd=where
    )
    if done.returncode:
        raise ToolError(f"{command[0]}: {(done.stderr or done.stdout).strip()[:400]}")
    return done.stdout


def summary(core: Core, body: Sequence[str]) -> tuple[float, float]:
    """Return (cycles a step, cycles a step if only throughput counted)."""
    command = [LLVM_MCA, f"-mtriple={core.architecture}-linux-gnu", f"-mcpu={core.name}"]
    text = run([*command, f"-iterations={STEPS}", "-json"], "\n".join(body) + "\n")
    view = json.loads(text)["CodeRegions"][0]["SummaryView"]
    return view["TotalCycles"] / STEPS, view["BlockRThroughput"]


def predict(core: Core, loop: Loop, kind: re.Pattern[str]) -> Prediction:
    """Return what llvm-mca says; where it multiplies faster than the core can, the core decides."""
    products = loop.chosen(kind)
    peak = core.fma if kind is FLOAT else core.dot
    if any(re.match(r"[su]ml|[su]mull", line) for line in products):
        peak = core.multiply
    least = sum(map(register_bytes, products)) / peak
    cycles = max(summary(core, loop.body)[0], least)
    fastest = max(summary(core, products)[1], least)
    return Prediction(cycles, loop.work(kind) / cycles, least / cycles, fastest / cycles)
