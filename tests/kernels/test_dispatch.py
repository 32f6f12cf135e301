# SPDX-License-Identifier: Apache-2.0
"""Tiers and the lists of kernels, as Python sees them; tests/cpp has which kernel is chosen."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from native import core, needs_core
from octavo import _backend, runtime

pytestmark = needs_core

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "csrc" / "kernels"
ISA_ROWS = (ROOT / "csrc" / "dispatch" / "isa.inc").read_text(encoding="utf-8")
TOKENS = re.findall(r"^OCTAVO_ISA\(\w+, (\w+),", ISA_ROWS, re.MULTILINE)
TOKEN = f"({'|'.join(TOKENS)})"


def all_rows() -> list[dict[str, Any]]:
    if core is None:
        return []
    return [dict(row, family=family) for family in core.families() for row in core.kernels(family)]


def test_unknown_tokens() -> None:
    with pytest.raises(ValueError, match=r"^family: "):
        core.kernels("gemm_s3")
    before = core.get_isa()
    for name in ("avx1024", "", "AVX2"):
        with pytest.raises(ValueError, match=r"^isa: unknown tier"):
            core.set_isa(name)
    assert core.get_isa() == before


def test_an_unsupported_tier_is_an_error() -> None:
    for name in sorted(set(TOKENS) - set(core.isa_tiers())):
        with pytest.raises(ValueError, match=rf"^isa: tier '{name}' (is not supported|was not)"):
            core.set_isa(name)
        with _backend.use("native"), pytest.raises(ValueError, match=r"^name: "):
            runtime.use_isa(name)


def test_tiers_are_listed_best_first() -> None:
    assert core.isa_tiers()[-1] == core.compiled_isa_tiers()[-1] == "scalar"
    for tiers in (core.isa_tiers(), core.compiled_isa_tiers()):
        assert tiers == sorted(tiers, key=TOKENS.index, reverse=True)
    assert set(core.isa_tiers()) <= set(core.compiled_isa_tiers())


def test_names_follow_the_grammar() -> None:
    for row in all_rows():
        isa, family = row["isa"], row["family"]
        products = re.fullmatch(
            r"((?:gemm|gather|broadcast)(?:_bitmap|_windowed|_bsr\d+x\d+)?)_s8", family
        )
        if family == "gemm_s8":
            match = re.fullmatch(rf"gemm_(?:s8|u8)s8s32_(\d+)x(\d+)x(\d+)_{TOKEN}", row["name"])
            assert match, row["name"]
            assert int(match[1]) == row["mr"], row["name"]
            assert int(match[2]) % 16 == 0, row["name"]
            assert match[4] == isa
        elif family == "gemm_groups":
            assert re.fullmatch(rf"gemm_groups_s8f32_\d+x\d+x\d+_{isa}", row["name"]), row["name"]
        elif products:
            match = re.fullmatch(rf"{products[1]}_(s8|u8)s8s32_\d+x\d+x\d+_{isa}", row["name"])
            assert match, row["name"]
        else:
            # Element types, where the family has not named its own, or what is done at once.
            kind = r"(_([a-z]\d+)+|_\d+x\d+(x\d+)?)" + ("?" if family.endswith("_s8") else "")
            assert re.fullmatch(rf"{family}{kind}_{isa}", row["name"]), row["name"]
    names = [row["name"] for row in all_rows()]
    assert len(names) == len(set(names))


def test_every_tier_has_a_kernel_that_runs() -> None:
    available = {row["isa"] for row in all_rows() if row["available"]}
    assert available == set(core.isa_tiers())


def test_every_kernel_file_has_a_row() -> None:
    files = {(path.parent.name, path.stem) for path in KERNELS.glob("*/*.cpp")}
    lanes = [path.stem.removeprefix("lanes16_") for path in KERNELS.glob("common/lanes16_*.h")]
    made = {(path.parent.name, isa) for path in KERNELS.glob("*/generic.h") for isa in lanes}
    rows = {(row["family"], row["isa"]) for row in all_rows()}
    compiled = set(core.compiled_isa_tiers())
    assert {(family, isa) for family, isa in files if isa in compiled} <= rows <= files | made
    assert set(core.families()) == {family for family, _ in files | made}


def test_required_tiers_that_are_missing_fail_the_run() -> None:
    environment = {**os.environ, "OCTAVO_TEST_REQUIRE": "avx1024"}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", str(Path(__file__))]
    run = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode != 0
    assert "OCTAVO_TEST_REQUIRE: ['avx1024']" in run.stdout + run.stderr
