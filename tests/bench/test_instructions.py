# SPDX-License-Identifier: Apache-2.0
"""Counting instructions under qemu: the plugin counts exactly, and ratios are what they say."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

COUNTDOWN = """
.globl _start
_start:
    mov x0, #1000
1:  subs x0, x0, #1
    b.ne 1b
    mov x8, #93
    svc #0
"""


def test_the_plugin_counts_every_instruction(script: Any, tmp_path: Path) -> None:
    compiler = shutil.which("aarch64-linux-gnu-gcc")
    if compiler is None:
        pytest.skip("needs aarch64-linux-gnu-gcc")
    module, mca = script("instructions"), script("common.mca")
    try:
        counter = module.Counter(tmp_path)
    except mca.ToolError as error:
        pytest.skip(str(error))
    program = tmp_path / "countdown"
    command = [compiler, "-nostdlib", "-static", "-x", "assembler", "-", "-o", str(program)]
    subprocess.run(command, input=COUNTDOWN, text=True, check=True)
    assert counter.total(module.CPUS[0], [str(program)], {}) == 1 + 2 * 1000 + 2


def test_targets_compare_the_same_shape_and_tier(script: Any) -> None:
    module = script("instructions")
    counts = [
        module.Count("gemm_s8 128x768x768", "octavo", "aarch64", "neon_dotprod", 100.0),
        module.Count("float32 128x768x768", "numpy", "aarch64", "neon_dotprod", 310.0),
        module.Count("float32 1x768x768", "numpy", "aarch64", "neon_dotprod", 1.0),
        module.Count("gemm_s8 128x768x768", "octavo", "aarch64", "neon_i8mm", 100.0),
        module.Count("float32 128x768x768", "numpy", "aarch64", "neon_i8mm", 590.0),
    ]
    dot, matrix = module.targets(counts)
    assert (dot.measured, dot.met) == ("3.10x", True)
    assert (matrix.measured, matrix.met) == ("5.90x", False)
    (table,) = module.tables(counts)
    assert "neon_dotprod" in table
    assert module.Count("layer_norm 2x8", "octavo", "aarch64", "neon", 32.0).per_output == 2
    assert module.Count("gemm_s8 2x8x64", "octavo", "aarch64", "neon", 32.0).per_output == 2
