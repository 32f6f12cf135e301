# SPDX-License-Identifier: Apache-2.0
"""Programs of graphs in the native module: random ones write what their twins in NumPy write."""

from __future__ import annotations

import json
from concurrent import futures
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuzz import graph_programs
from graph_steps import aligned
from guard import guarded
from native import core, needs_core
from octavo import runtime

pytestmark = needs_core


def cases() -> list[dict[str, Any]]:
    return [json.loads(files["program.json"]) for files in graph_programs.seeds(Path())]


@pytest.mark.parametrize("isa", runtime.isa_tiers(), indirect=True)
def test_random_programs(threads: int, isa: str) -> None:
    """The twin's bits, and nothing is read or written beside the arena."""
    for case in cases():
        program, taken = graph_programs.make_program(core, case)
        memory, arena = graph_programs.make_arena(case)
        expected = graph_programs.twin_arena(case, taken)
        for front in (False, True):
            fenced = guarded(arena, front=front)
            program.run(fenced)
            if expected is None:  # other bits in NumPy: those of a run without a fence
                program.run(arena)
                expected = memory
            graph_programs.same_values(
                fenced, expected[graph_programs.CANARIES : -graph_programs.CANARIES]
            )


def test_callers_at_once() -> None:
    """A program runs on several arenas, while tier and threads change."""
    case = cases()[3]
    program, _ = graph_programs.make_program(core, case)
    arenas = [graph_programs.make_arena(case)[1] for _ in range(6)]
    with futures.ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(program.run, arena) for arena in arenas[1:]]
        for tier in runtime.isa_tiers():
            with runtime.use_isa(tier):
                runtime.set_num_threads(2)
        runtime.set_num_threads(1)
        for call in calls:
            call.result()
    program.run(arenas[0])
    for arena in arenas[1:]:
        graph_programs.same_values(arena, arenas[0])


def test_steps_that_do_not_fit() -> None:
    program = core.GraphProgram(4096)
    weight, one = np.ones((1, 1, 1, 64), np.int8), np.ones(1, np.float32)
    conv = {"x": 0, "out": 128, "shape": (1, 1, 2, 64), "size": (1, 2), "weight": weight}
    conv |= {"multiplier": one, "zero_point": 0, "out_zero_point": 0}
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("x", {"x": -64}),
        ("x", {"x": 1}),
        ("x", {"x": 4096}),
        ("out", {"out": 64}),
        ("out", {"out": 2**62}),
        ("shape", {"shape": (1, 1, 2, 0)}),
        ("shape", {"shape": (1, 2, 64)}),
        ("sizes", {"shape": (2**31 - 1,) * 4}),
        ("size", {"size": (1, 2**31 - 1), "stride": (2**31 - 1, 2**31 - 1)}),
        ("x", {"size": (1, 2**31), "x": 4096 - 64}),
        ("groups", {"groups": 2}),
        ("weight", {"weight": weight[..., 0]}),
        ("weight", {"weight": np.ones((1, 1, 65794, 1), np.int8), "shape": (1, 1, 1, 1)}),
        ("multiplier", {"multiplier": one * np.inf}),
        ("multiplier", {"multiplier": np.ones(2, np.float32)}),
        ("zero_point", {"zero_point": 128}),
        ("high", {"low": 5, "high": 4}),
    ]
    for name, change in wrong:
        with pytest.raises(ValueError, match=rf"{name}"):
            program.add_conv(**(conv | change))
    for change in ({"another": 1}, {"zero_point": 1.5}, {"weight": None}):
        with pytest.raises(TypeError):
            program.add_conv(**(conv | change))
    with pytest.raises(ValueError, match="padding"):
        program.add_max_pool(
            x=0, out=64, shape=(1, 1, 1, 1), size=(1, 1), kernel=(1, 1), padding=(1, 0)
        )
    with pytest.raises(ValueError, match="out_strides"):
        program.add_copy(x=0, out=64, shape=(3, 2), x_strides=(2,), out_strides=(1,))
    assert program.nbytes == 0


def test_arenas_that_do_not_fit() -> None:
    program = core.GraphProgram(128)
    program.add_fill(out=64, count=64, value=np.int8([3]))
    arena = aligned(192)
    fixed = arena.copy()
    fixed.flags.writeable = False
    for wrong in (arena[:64], arena[1:], arena.view(np.int8), arena[:128].reshape(2, 64), fixed):
        with pytest.raises(ValueError, match="arena"):
            program.run(wrong)
    program.run(arena)
    assert np.array_equal(arena, [0] * 64 + [3] * 64 + [0] * 64)
    with pytest.raises(ValueError, match="self"):
        program.add_fill(out=64, count=64, value=np.int8([3]))
    with pytest.raises(ValueError, match="arena_bytes"):
        core.GraphProgram(-1)
