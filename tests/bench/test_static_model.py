# SPDX-License-Identifier: Apache-2.0
"""The static model: which loop it takes, what it counts there, and what it says of the kernels."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

GCC = """
other:
.L9:
\tvpdpbusd\t%zmm0, %zmm1, %zmm2
\tvpdpbusd\t%zmm0, %zmm1, %zmm3
\tjne\t.L9
\t.size\tother, .-other
kernel:
.LFB7:
\tpushq\t%rbp
.L2:
\txorl\t%eax, %eax
.L3:
#APP
# 7 "kernel.cpp" 1
\tvmovdqu\t(%rdi), %ymm1
#NO_APP
\t{vex} vpdpbusd\t%ymm1, %ymm0, %ymm2
\tvpmaddwd\t(%rsi), %ymm1, %ymm3
\timulq\t%rdx, %rcx
\tje\t.L8
\taddq\t$32, %rdi
\tjne\t.L3
\tdecq\t%r8
\tjne\t.L2
.L8:
\tret
\t.size\tkernel, .-kernel
"""
OBJDUMP = """
  10: \tmov\tx1, #0x8
  14: \tldr\tq0, [x0], #0x10
  18: \tsdot\tv1.4s, v0.16b, v2.4b[0]
  1c: \tcbz\tx3, 0x2c <kernel+0x2c>
  20: \tsmmla\tv3.4s, v0.16b, v2.16b
  24: \tb.ne\t0x14 <kernel+0x14>
  28: \tcbnz\tx1, 0x10 <kernel+0x10>
"""


def test_the_innermost_loop_of_a_function(script: Any) -> None:
    loops = script("common.loops")
    (found,) = loops.loops_of_assembly(GCC, "kernel")
    assert (found.body[0], found.body[-1], len(found.body)) == (
        "vmovdqu (%rdi), %ymm1",
        "jne .L3",
        7,
    )
    assert [loops.mnemonic(line) for line in found.chosen(loops.INTEGER)] == [
        "vpdpbusd",
        "vpmaddwd",
    ]
    assert found.work(loops.INTEGER) == 32 + 16
    hottest = loops.hottest(loops.loops_of_assembly(GCC), loops.INTEGER)
    assert hottest.work(loops.INTEGER) == 128  # as many products in fewer instructions
    assert loops.hottest([found], loops.FLOAT) is None


def test_sums_of_pairs_are_counted_once(script: Any) -> None:
    loops = script("common.loops")
    loop = loops.Loop(("vpmaddubsw %ymm0, %ymm1, %ymm2", "vpmaddwd %ymm2, %ymm3, %ymm4"))
    assert len(loop.chosen(loops.INTEGER)) == 2
    assert loop.work(loops.INTEGER) == 32


def test_the_innermost_loop_of_a_disassembly(script: Any) -> None:
    loops = script("common.loops")
    (found,) = loops.loops_of_disassembly(OBJDUMP.splitlines())
    assert found.body[2:] == ("cbz x3, again", "smmla v3.4s, v0.16b, v2.16b", "b.ne again")
    assert found.work(loops.INTEGER) == 16 + 32


def test_a_missing_tool_is_named_with_its_package(
    script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mca = script("common.mca")
    monkeypatch.setattr(mca.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match=re.escape("missing llvm-mca-19: apt install llvm-19")):
        script("static_model").main([])


@pytest.mark.parametrize(
    ("tier", "wanted"),
    [
        ("neon_dotprod", {"cortex-a55": 0.7, "cortex-a510": 0.7, "neoverse-n1": 0.85}),
        ("neon_i8mm", {"neoverse-v2": 0.85}),
    ],
)
def test_dense_product_on_arm(
    script: Any, tmp_path: Path, tier: str, wanted: dict[str, float]
) -> None:
    pytest.importorskip("matplotlib")
    mca, model = script("common.mca"), script("static_model")
    try:
        mca.require(mca.LLVM_MCA)
        build = model.Build("aarch64", "gcc", tmp_path)
    except mca.ToolError as error:
        pytest.skip(str(error))
    case = model.CASES[0]
    loop = model.hottest(build.loops(case, tier), case.found_by)
    lines = []
    for core in mca.CORES:
        if core.name in wanted:
            lines += model.lines_of(case, tier, model.OURS, core, loop)
    assert {line.core for line in lines} == set(wanted)
    for line in lines:
        assert wanted[line.core] <= line.prediction.of_published <= 1, line
    assert "neon" in json.dumps([line.to_json() for line in lines])
    model.draw(lines, tmp_path / "plot.svg")
    assert "not measured" in (tmp_path / "plot.svg").read_text(encoding="utf-8")
