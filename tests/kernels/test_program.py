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
from program_draft import Draft, packed_linear
from reference import assert_same_bits

pytestmark = needs_core

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


@pytest.mark.parametrize("isa", TIERS, indirect=True)
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("biased", [False, True])
def test_programs_equal_calls_one_by_one(lengths: tuple[int, ...], biased: bool, isa: str) -> None:
    assert runtime.get_isa() == isa
    for seed in range(4):
        draft = Draft(np.random.default_rng([seed, *lengths]), lengths, biased)
        for _ in range(draft.rng.integers(1, 20)):
            draft.step()
        if not draft.made:
            draft.linears()
        expected = draft.finish()
        for threads in (1, 2, 3):
            assert_same_bits(draft.run(draft.values[0], threads), expected)


@pytest.mark.parametrize("isa", runtime.isa_tiers(), indirect=True)
@pytest.mark.parametrize("front", [False, True])
@pytest.mark.parametrize("lengths", [(1,), (5, 0, 12), (130, 3)], ids=str)
def test_guard_pages(lengths: tuple[int, ...], front: bool, isa: str) -> None:
    """Nothing is read beside the arguments."""
    draft = Draft(np.random.default_rng(max(lengths)), lengths, True)
    draft.bias = guarded(draft.bias, front=front)
    draft.linears()
    for step in (draft.attention, draft.turn, draft.turn, draft.cached):
        step()
    for _ in range(6):
        draft.step()
    draft.tables = [tuple(guarded(part, front=front) for part in pair) for pair in draft.tables]
    weight = guarded(np.ones(draft.values[-1].shape[1], np.float32), front=front)
    made = draft.program.layer_norm(weight, weight, 1e-5, len(draft.values) - 1, None)
    draft.program.finish(made)
    expected = functional.layer_norm(draft.values[-1], weight, weight, 1e-5)
    x = guarded(draft.values[0], front=front)
    for threads in (1, 2):
        assert_same_bits(draft.run(x, threads), expected)


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
        lambda: program.rms_norm(norm[:5], 1e-5, 0, None),
        lambda: program.rms_norm(norm[:0], 1e-5, 0, None),
        lambda: program.rms_norm(norm, 1e-5, 0, 1),
        lambda: program.rms_norm(norm, 1e-5, 7, None),
        lambda: program.rotary(0, 5, 0),
        lambda: program.rotary(0, 0, 0),
        lambda: program.rotary(0, 4, 1),
        lambda: program.rotary(0, 4, -1),
        lambda: program.rotary(9, 4, 0),
        lambda: program.gated(0, 1, "silu"),
        lambda: program.columns(0, 3, 3),
        lambda: program.columns(0, -1, 3),
        lambda: program.columns(0, 30, 33),
        lambda: program.columns(9, 0, 1),
        lambda: program.attention_cached(0, 0, 0, 0, 4, 3, None, 1.0),
        lambda: program.attention_cached(0, 0, 0, 0, 4, 2, None, 1.0),
        lambda: program.attention_cached(0, 0, 1, 0, 4, 4, None, 1.0),
        lambda: program.attention_cached(0, 0, 0, 0, 5, 5, None, 1.0),
        lambda: program.attention_cached(0, 0, 0, -1, 4, 4, None, 1.0),
        lambda: program.attention_cached(0, 0, 0, 1 << 16, 4, 4, None, 1.0),
        lambda: program.attention_cached(0, 0, 0, 0, 4, 4, 0, 1.0),
        lambda: program.attention_cached(0, 0, 0, 0, 4, 4, None, float("nan")),
        lambda: wide.attention_cached(0, 0, 0, 0, 1, 1, None, 1.0),
        lambda: program.finish(0),
        lambda: program.finish(2),
        lambda: program.run(np.ones((3, 32), np.float32), np.array([0, 3]), None),
    ]
    for call in wrong:
        with pytest.raises(ValueError, match="expected"):
            call()
    with pytest.raises(ValueError, match="unknown name 'mish'"):
        program.gated(0, 0, "mish")
    program.finish(1)
    late = [
        lambda: program.finish(1),
        lambda: program.linear(layer, 0, None, None),
        lambda: program.layer_norm(norm, None, 1e-5, 0, None),
        lambda: program.attention(0, 0, 0, 4, 1.0, True, True),
        lambda: program.columns(0, 0, 1),
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


def decoding() -> Any:
    """A program of one step with a table, and one with caches of two layers."""
    program = core.Program(32)
    program.attention_cached(program.rotary(0, 4, 0), 0, 0, 1, 4, 4, None, 1.0)
    with pytest.raises(ValueError, match="the heads of the other steps with caches"):
        program.attention_cached(0, 0, 0, 0, 2, 2, None, 1.0)
    program.finish(2)
    return program


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"caches": []}, "caches: expected one for each sequence"),
        ({"caches": [(2, 4, 8)]}, "caches: expected one for each sequence"),
        ({"caches": [(1, 4, 8)] * 2}, "caches: expected the layers and heads"),
        ({"caches": [(2, 2, 8)] * 2}, "caches: expected the layers and heads"),
        ({"caches": [(2, 4, 9)] * 2}, "caches: expected the layers and heads"),
        ({"caches": [(2, 4, 8), (3, 4, 8)]}, "caches: expected caches of one shape"),
        ({"caches": [(2, 4, 8), None]}, "caches: expected no None"),
        ({"positions": None}, "positions: expected a position for each row"),
        ({"positions": np.array([0, 1])}, "positions: expected a row of the tables"),
        ({"positions": np.array([0, 1, 7])}, "positions: expected a row of the tables"),
        ({"positions": np.array([0, -1, 1])}, "positions: expected a row of the tables"),
        ({"positions": np.array([0, 1, 2], np.int32)}, "positions: expected"),
        ({"tables": []}, "tables: expected as many as the program reads"),
        ({"tables": [(7, 4)] * 2}, "tables: expected as many as the program reads"),
        ({"tables": [(7, 5)]}, "tables: expected pairs that a head has"),
        ({"tables": [(7, 4, 6)]}, "tables: expected sines of the shape"),
    ],
    ids=str,
)
def test_decoding_calls_that_do_not_fit(wrong: dict[str, Any], message: str) -> None:
    program, x = decoding(), np.ones((3, 32), np.float32)

    def table(rows: int, pairs: int, sines: int | None = None) -> Any:
        return np.ones((rows, pairs), np.float32), np.ones((sines or rows, pairs), np.float32)

    given: dict[str, Any] = {"positions": np.arange(3), "tables": [(7, 4)]}
    given |= {"caches": [(2, 4, 8)] * 2} | wrong
    given["tables"] = [table(*shape) for shape in given["tables"]]
    caches = [shape and core.KeyValueCache(*shape) for shape in given["caches"]]
    with pytest.raises(ValueError, match=message):
        program.run(x, np.array([0, 1, 3]), None, **given | {"caches": caches})
    assert all(not any(cache.lengths()) for cache in caches if cache)


def test_a_cache_serves_one_sequence() -> None:
    program, x = decoding(), np.ones((2, 32), np.float32)
    cache, table = core.KeyValueCache(2, 4, 8), (np.ones((2, 4), np.float32),) * 2
    with pytest.raises(RuntimeError, match="caches: another call uses this cache"):
        program.run(x, np.arange(3), None, np.arange(2), [table], [cache, cache])
    assert cache.lengths() == [0, 0]
    program.run(x, np.array([0, 2]), None, np.arange(2), [table], [cache])
    assert cache.lengths() == [0, 2]
    plain, _ = one_step()
    plain.finish(1)
    with pytest.raises(ValueError, match="positions: expected none"):
        plain.run(x, np.array([0, 2]), None, np.arange(2))
    with pytest.raises(ValueError, match="caches: expected"):
        plain.run(x, np.array([0, 2]), None, None, (), [cache])


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
