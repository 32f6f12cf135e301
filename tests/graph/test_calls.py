# SPDX-License-Identifier: Apache-2.0
"""Calls of sessions: inputs, shapes, threads, memory; graphs of uint8."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from graph_cases import WEIGHTED, of_dynamic_range, of_uint8, sample
from graphs import F32, I8, I32, Draft, one_by_one, weights
from octavo.graph import Graph, Session
from octavo.graph.plan import ALIGNMENT, Life, plan

U8 = np.dtype(np.uint8)


def doubled() -> Graph:
    """a + a and the shape of a, named "a"; and b as it is."""
    draft = Draft()
    a, b = draft.input(2, 3), draft.input(1, dtype=I32)
    draft.graph.tensors[a].name, draft.graph.tensors[b].name = "a", "b"
    return draft.done(draft.op("add", a, a), draft.op("shape", a, dtype=I32), b)


def test_inputs_go_in_order_or_by_name() -> None:
    session, x = Session(doubled()), np.ones((2, 3), np.float32)
    for found in (session(x, [7]), session(b=[7], a=x)):
        assert_array_equal(found[0], 2 * x)
        assert_array_equal(found[1], [2, 3])
        assert_array_equal(found[2], [7])
    before = session(x, [1])[0].copy()
    session(x * 5, [1])
    assert_array_equal(before, 2 * x)


@pytest.mark.parametrize(
    ("inputs", "named", "error", "message"),
    [
        ((), {}, TypeError, "inputs: expected all in order, or by names of .*got 0 and 0"),
        ((1,), {}, TypeError, "inputs: expected 2, got 1"),
        ((), {"a": 1, "c": 2}, TypeError, "names of .*got 'c'"),
        ((np.ones((2, 3)), [1]), {}, TypeError, r"tensor 0 \('a'\): expected float32, got float64"),
        (
            (np.ones((2, 2), np.float32), [1]),
            {},
            ValueError,
            r"shape \(2, 3\), got \(2, 2",
        ),
        (([[1, 2, 3]] * 2, [1.5]), {}, TypeError, r"tensor 1 \('b'\): expected int32, got float64"),
    ],
)
def test_other_inputs_are_refused(
    inputs: tuple[Any, ...], named: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Session(doubled())(*inputs, **named)


def test_what_cannot_be_computed_is_named() -> None:
    for kind in ("add", "average_pool_2d"):
        draft = Draft()
        x = draft.input(1, 2, 2, 1, dtype=I8, q=(1e30, 0))
        inputs = [x, x] if kind == "add" else [x]
        graph = draft.done(draft.op(kind, *inputs, q=(1e-30, 0)))
        with pytest.raises(ValueError, match=rf"operator 0 \({kind}\): expected scales up to"):
            Session(graph)
    draft = Draft()
    x = draft.input(3)
    graph = draft.done(draft.op("reshape", x, draft.op("cast", x, dtype=I32)))
    with pytest.raises(ValueError, match=r"operator 1 \(reshape\): the shape of its"):
        Session(graph)


def test_small_constants_do_not_become_large_ones() -> None:
    draft = Draft()
    x = draft.input(1)
    tiled = draft.op("tile", draft.constant([1.0]), draft.constant([1 << 21]))
    session = Session(draft.done(draft.op("add", tiled, x)))
    assert session.arena_bytes >= 4 << 21
    assert_array_equal(session([2.0])[0][:3], [3, 3, 3])


def test_shapes_change() -> None:
    session = Session(doubled())
    session.resize({0: (4, 5)})
    with pytest.raises(ValueError, match="indices of"):
        session.resize({9: (1,)})
    found = session(np.ones((4, 5), np.float32), [1])
    assert session.shape(2) == found[0].shape == (4, 5)
    assert_array_equal(found[1], [4, 5])
    assert_array_equal(Session(doubled(), {0: (1, 1)})([[4]], [1])[0], [[8]])


def test_threads_wait_for_each_other() -> None:
    draft = Draft()
    x = draft.input(64, 64)
    y = draft.op("tanh", draft.op("mul", x, draft.op("reverse_v2", x, draft.constant([0]))))
    session = Session(draft.done(y))
    inputs = [np.full((64, 64), i / 9, np.float32) for i in range(8)]
    wanted = [session(one)[0] for one in inputs]
    wrong = []

    def work(i: int) -> None:
        wrong.extend(i for _ in range(50) if not np.array_equal(session(inputs[i])[0], wanted[i]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_memory_is_used_again() -> None:
    """A chain takes two tensors, and one where each step may overwrite what it reads."""
    size = 1 << 16
    for kind, tensors in (("tanh", 1), ("softmax", 2)):
        draft = Draft()
        x = draft.input(4, size // 16)
        for _ in range(5):
            x = draft.op(kind, x)
        assert Session(draft.done(x)).arena_bytes == tensors * size


def test_inputs_that_are_read_later_are_not_overwritten() -> None:
    draft = Draft()
    x = draft.input(3, 100)
    y = draft.op("reshape", draft.op("relu", x), new_shape=[300])
    flat = draft.op("reshape", x, new_shape=[300])
    graph = draft.done(draft.op("add", draft.op("tanh", y), flat), x, y)
    value = np.linspace(-2, 2, 300, dtype=np.float32).reshape(3, 100)
    for found, wanted in zip(Session(graph)(value), one_by_one(graph, value), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.integers(-1, 20), st.integers(0, 20)), max_size=40)
)
def test_what_lives_at_once_lies_apart(drawn: list[tuple[int, int, int]]) -> None:
    lives = [Life(nbytes, first, first + length) for nbytes, first, length in drawn]
    offsets, total = plan(lives)
    assert not (offsets % ALIGNMENT).any()
    for i, (at, life) in enumerate(zip(offsets, lives, strict=True)):
        assert at + life.nbytes <= total
        for other_at, other in zip(offsets[:i], lives[:i], strict=True):
            together = life.first <= other.last and other.first <= life.last
            assert not together or at + life.nbytes <= other_at or other_at + other.nbytes <= at


@pytest.mark.parametrize("kind", WEIGHTED)
@pytest.mark.parametrize("point", [0, 128, 255])
def test_uint8_graphs(kind: str, point: int) -> None:
    """Codes of uint8 with weights that have zero points: as real numbers say, within a step."""
    graph = of_uint8(kind, point)
    (wanted,), session = one_by_one(graph, *sample(graph)), Session(graph)
    (found,) = session(*sample(graph))
    assert found.dtype == U8
    differences = np.abs(found.astype(int) - wanted)
    assert differences.max() <= 1
    assert (differences > 0).mean() < 0.02
    assert session.constant_bytes > 0  # a step does it


@pytest.mark.parametrize("kind", WEIGHTED)
def test_codes_of_weights_beside_floats(kind: str) -> None:
    """What a file of dynamic range has: codes stay codes, but for what has no such step."""
    graph = of_dynamic_range(kind)
    (found,), (wanted,) = Session(graph)(*sample(graph)), one_by_one(graph, *sample(graph))
    error = np.abs(found - wanted).max() / np.abs(wanted).max()
    assert error < (1e-6 if kind[0] == "d" else 0.02)
    assert (error > 1e-5) == (kind[0] != "d")


def test_scales_of_inputs_are_no_scales_of_outputs() -> None:
    """A matrix (k, n) with a scale for each k."""
    draft = Draft()
    x = draft.input(5, 4)
    graph = draft.done(draft.op("batch_matmul", x, draft.constant(*weights(4, 4, axis=0))))
    (found,), (wanted,) = Session(graph)(*sample(graph)), one_by_one(graph, *sample(graph))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_codes_taken_as_integers_stay() -> None:
    draft = Draft()
    x = draft.input(3, dtype=U8, q=(0.5, 128))
    y = draft.op("cast", x, dtype=F32)
    z = draft.op("quantize", x, dtype=I8, q=(0.5, 0))
    found = Session(draft.done(y, z))(np.array([0, 128, 255], np.uint8))
    assert_array_equal(found[0], [0, 128, 255])
    assert_array_equal(found[1], [-128, 0, 127])
