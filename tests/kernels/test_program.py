# SPDX-License-Identifier: Apache-2.0
"""Programs of the native module: random steps equal the same calls made one by one."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

from grids import slow
from guard import guarded
from native import core, needs_core
from octavo import functional, runtime
from reference import assert_same_bits

pytestmark = needs_core

HEADS = 4
WIDTHS = (28, 32, 80)


def packed_linear(rng: np.random.Generator, n: int, k: int, **options: Any) -> Any:
    codes = rng.integers(-127, 128, (n, k), np.int8)
    if options.get("format", "dense") != "dense":
        codes[rng.random((n, k)) < 0.8] = 0
    settings: dict[str, Any] = dict.fromkeys(("input_scale", "output_scale"))
    settings |= dict.fromkeys(("input_zero_point", "output_zero_point"), 0)
    settings |= {"activation": "none", "symmetric": False} | options
    scale = rng.uniform(0.001, 0.01, n).astype(np.float32)
    return core.PackedLinear(codes, scale, rng.normal(0, 1, n).astype(np.float32), **settings)


def float_linear(rng: np.random.Generator, n: int, k: int) -> Any:
    weight = core.PackedF32(rng.normal(0, 0.3, (n, k)).astype(np.float32))
    multiplier = rng.uniform(0.5, 2, k).astype(np.float32) if rng.random() < 0.2 else None
    return core.LinearF32(weight, rng.normal(0, 1, n).astype(np.float32), "gelu", multiplier)


def random_options(rng: np.random.Generator, k: int) -> dict[str, Any]:
    """Mostly the same, so that neighbours read the same codes."""
    options: dict[str, Any] = {"activation": rng.choice(["none", "gelu", "relu"])}
    kind = rng.integers(0, 6)
    if kind == 0:
        options["symmetric"] = True
    elif kind == 1:
        options |= {"input_scale": 0.05, "input_zero_point": 3}
    elif kind == 2:
        options["input_multiplier"] = np.full(k, 0.5, np.float32)
    return options


class Draft:
    """A program, and the calls that it stands for."""

    def __init__(self, rng: np.random.Generator, rows: int, offsets: Any, bias: Any) -> None:
        self.rng, self.offsets, self.bias, self.attends = rng, offsets, bias, False
        x = rng.normal(0, 1, (rows, WIDTHS[0])).astype(np.float32)
        self.program, self.values = core.Program(WIDTHS[0]), [x]

    def some(self, width: int | None = None) -> int:
        """A value, of this width if one is given; mostly a late one, so that memory is reused."""
        fitting = [i for i, v in enumerate(self.values) if width in (None, v.shape[1])]
        return fitting[-1 - min(int(self.rng.exponential(2)), len(fitting) - 1)]

    def maybe(self, width: int) -> int | None:
        there = any(value.shape[1] == width for value in self.values)
        return self.some(width) if there and self.rng.random() < 0.5 else None

    def value(self, index: int | None) -> Any:
        return None if index is None else self.values[index]

    def last(self) -> int:
        """A value that a step makes, mostly the last."""
        return max(1, self.some())

    def step(self) -> None:
        getattr(self, self.rng.choice(["linears", "linears", "norm", "attention"]))()

    def linears(self) -> None:
        """Some layers that read the same value, some of them each other's results too."""
        x = self.some()
        k = self.values[x].shape[1]
        options = random_options(self.rng, k)
        for _ in range(self.rng.integers(1, 7)):
            n = int(self.rng.choice(WIDTHS))
            own = random_options(self.rng, k) if self.rng.random() < 0.4 else options
            layer, addend, residual = (
                packed_linear(self.rng, n, k, **own),
                self.maybe(n),
                self.maybe(n),
            )
            made = self.program.linear(layer, x, addend, residual)
            assert made == len(self.values)
            self.values.append(layer.run(self.values[x], self.value(residual), self.value(addend)))

    def norm(self) -> None:
        x = self.some()
        n = self.values[x].shape[1]
        weight = self.rng.normal(1, 0.1, n).astype(np.float32)
        bias = self.rng.normal(0, 0.1, n).astype(np.float32) if self.rng.random() < 0.7 else None
        residual = self.maybe(n)
        self.program.layer_norm(weight, bias, 1e-5, x, residual)
        self.values.append(
            functional.layer_norm(self.values[x], weight, bias, 1e-5, self.value(residual))
        )

    def attention(self) -> None:
        q = self.some()
        width = self.values[q].shape[1]
        k, v = self.some(width), self.some(width)
        int8, biased = bool(self.rng.random() < 0.7), self.bias is not None
        self.program.attention(q, k, v, HEADS, 0.25, int8, biased)
        self.attends = True
        attend: Any = functional.attention_int8 if int8 else functional.attention
        made = attend(
            *(self.values[one][None] for one in (q, k, v)),
            bias=self.bias,
            heads=HEADS,
            scale=0.25,
            offsets=self.offsets,
        )
        self.values.append(made[0])


_SLOWEST = ("sse41", "scalar")
TIERS = [
    *(tier for tier in runtime.isa_tiers() if tier not in _SLOWEST),
    *slow(*(tier for tier in runtime.isa_tiers() if tier in _SLOWEST)),
]
LENGTHS = [
    (5,),
    (1,),
    (0, 3, 0),
    (40, 1, 17),
    (130,),
    (90, 90, 80),
    (300, 20),
    (70,) * 9,
    (600,),
    (0, 600),
    (300, 0, 300, 0),
]


def run_on_threads(program: Any, x: Any, offsets: Any, bias: Any, threads: int) -> Any:
    before = core.get_num_threads()
    core.set_num_threads(threads)
    try:
        return program.run(x, offsets, bias)
    finally:
        core.set_num_threads(before)


@pytest.mark.parametrize("isa", TIERS, indirect=True)
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("biased", [False, True])
def test_programs_equal_calls_one_by_one(lengths: tuple[int, ...], biased: bool, isa: str) -> None:
    assert runtime.get_isa() == isa
    offsets, longest = np.concatenate([[0], np.cumsum(lengths)]), max(lengths)
    for seed in range(4):
        rng = np.random.default_rng([seed, *lengths])
        bias = rng.normal(0, 1, (HEADS, longest, longest)).astype(np.float32) if biased else None
        draft = Draft(rng, int(offsets[-1]), offsets, bias)
        for _ in range(rng.integers(1, 20)):
            draft.step()
        result = draft.last()
        draft.program.finish(result)
        used = bias if draft.attends else None
        for threads in (1, 2, 3):
            made = run_on_threads(draft.program, draft.values[0], offsets, used, threads)
            assert_same_bits(made, draft.values[result])


@pytest.mark.parametrize("isa", runtime.isa_tiers(), indirect=True)
@pytest.mark.parametrize("front", [False, True])
@pytest.mark.parametrize("lengths", [(1,), (5, 0, 12), (130, 3)], ids=str)
def test_guard_pages(lengths: tuple[int, ...], front: bool, isa: str) -> None:
    """Nothing is read beside the arguments."""
    offsets, longest = np.concatenate([[0], np.cumsum(lengths)]), max(lengths)
    rng = np.random.default_rng(longest)
    bias = guarded(rng.normal(0, 1, (1, longest, longest)).astype(np.float32), front=front)
    draft = Draft(rng, int(offsets[-1]), offsets, bias)
    draft.attention()
    for _ in range(6):
        draft.step()
    weight = guarded(np.ones(draft.values[-1].shape[1], np.float32), front=front)
    made = draft.program.layer_norm(weight, weight, 1e-5, len(draft.values) - 1, None)
    draft.program.finish(made)
    expected = functional.layer_norm(draft.values[-1], weight, weight, 1e-5)
    x = guarded(draft.values[0], front=front)
    for threads in (1, 2):
        assert_same_bits(run_on_threads(draft.program, x, offsets, bias, threads), expected)


def one_step() -> tuple[Any, Any]:
    """A program of one layer, 32 to 48, not finished."""
    rng = np.random.default_rng(0)
    program, layer = core.Program(32), packed_linear(rng, 48, 32)
    assert program.linear(layer, 0, None, None) == 1
    return program, layer


def test_steps_that_do_not_fit() -> None:
    program, layer = one_step()
    norm, wide = np.ones(32, np.float32), core.Program(1041)
    wrong = [
        lambda: core.Program(0),
        lambda: core.Program(-5),
        lambda: program.linear(layer, 1, None, None),
        lambda: program.linear(layer, 2, None, None),
        lambda: program.linear(layer, -1, None, None),
        lambda: program.linear(layer, 0, -1, None),
        lambda: program.linear(layer, 0, 0, None),
        lambda: program.linear(layer, 0, None, 9),
        lambda: program.linear(
            packed_linear(np.random.default_rng(0), 48, 32, output_scale=0.1), 0, None, None
        ),
        lambda: program.layer_norm(norm, None, 1e-5, 1, None),
        lambda: program.layer_norm(norm, norm[:3], 1e-5, 0, None),
        lambda: program.layer_norm(norm[::2], None, 1e-5, 0, None),
        lambda: program.attention(0, 0, 1, 4, 1.0, True, False),
        lambda: program.attention(0, 0, 0, 5, 1.0, True, False),
        lambda: program.attention(0, 0, 0, 0, 1.0, True, False),
        lambda: program.attention(0, 0, 0, 4, float("nan"), True, False),
        lambda: wide.attention(0, 0, 0, 1, 1.0, True, False),
        lambda: program.finish(0),
        lambda: program.finish(2),
        lambda: program.run(np.ones((3, 32), np.float32), np.array([0, 3]), None),
    ]
    for call in wrong:
        with pytest.raises(ValueError, match="expected"):
            call()
    program.finish(1)
    late = [
        lambda: program.finish(1),
        lambda: program.linear(layer, 0, None, None),
        lambda: program.layer_norm(norm, None, 1e-5, 0, None),
        lambda: program.attention(0, 0, 0, 4, 1.0, True, True),
    ]
    for call in late:
        with pytest.raises(ValueError, match="no result yet"):
            call()
    assert program.run(np.ones((3, 32), np.float32), np.array([0, 3]), None).shape == (3, 48)
    with pytest.raises(TypeError):
        program.linear(None, 0, None, None)


def test_a_result_that_does_not_fit() -> None:
    huge = core.Program(2**62)
    for values in ((0, 0, 0), (0, 0, 0), (1, 2, 2)):
        huge.attention(*values, 1, 1.0, False, False)
    for _ in range(2):
        with pytest.raises(ValueError, match="64 bits"):
            huge.finish(3)
    with pytest.raises(ValueError, match="expected a program with a result"):
        huge.run(np.ones((0, 4), np.float32), np.array([0]), None)


def test_calls_that_do_not_fit() -> None:
    program, _ = one_step()
    program.finish(1)
    x, ends, bias = np.ones((3, 32), np.float32), np.array([0, 3]), np.zeros((4, 3, 3), np.float32)
    for arguments in (
        (x[:, :31], ends, None),
        (x.astype(np.float64), ends, None),
        (x[::2], np.array([0, 2]), None),
        (x, np.array([0, 2]), None),
        (x, np.array([1, 3]), None),
        (x, np.array([0, 2, 1, 3]), None),
        (x, np.array([], np.int64), None),
        (x, np.array(3), None),
        (x, ends.astype(np.int32), None),
        (x, ends, bias),
    ):
        with pytest.raises(ValueError, match="expected"):
            program.run(*arguments)
    biased = core.Program(32)
    biased.attention(0, 0, 0, 4, 1.0, True, True)
    with pytest.raises(ValueError, match="as many as the other biased"):
        biased.attention(0, 0, 0, 8, 1.0, True, True)
    biased.finish(1)
    for wrong in (None, bias[:, :2], bias[:3], bias.astype(np.float64), bias[..., ::-1]):
        with pytest.raises(ValueError, match="bias: expected"):
            biased.run(x, ends, wrong)
    assert biased.run(x, ends, bias).shape == (3, 32)


def test_a_program_keeps_what_it_reads() -> None:
    program, layer = one_step()
    expected = layer.run(np.ones((2, 32), np.float32))
    weight = np.full(48, 2, np.float32)
    expected = functional.layer_norm(expected, weight, None, 1e-5)
    program.layer_norm(weight, None, 1e-5, 1, None)
    program.finish(2)
    del layer, weight
    gc.collect()
    np.full(48, 7, np.float32)
    assert_same_bits(program.run(np.ones((2, 32), np.float32), np.array([0, 2]), None), expected)


def test_no_rows() -> None:
    program, _ = one_step()
    program.finish(1)
    for offsets in ([0], [0, 0, 0]):
        made = program.run(np.ones((0, 32), np.float32), np.array(offsets), None)
        assert made.shape == (0, 48)
