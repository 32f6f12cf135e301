# SPDX-License-Identifier: Apache-2.0
"""Pruning: masks by magnitude, N:M, blocks and Wanda; exact counts, ties, bad input."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octavo.algorithms import pruning

# Few distinct values, so that there are ties.
values = st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0])
shapes = st.tuples(st.integers(1, 7), st.integers(1, 23))
weights = shapes.flatmap(lambda shape: hnp.arrays(np.float32, shape, elements=values))
shares = st.floats(0, 0.999)


@st.composite
def patterns(draw: st.DrawFn) -> tuple[int, int]:
    m = draw(st.integers(2, 16))
    return draw(st.integers(1, m - 1)), m


def nm_by_hand(weight: np.ndarray, n: int, m: int) -> np.ndarray:
    """Group by group: sort, and let the first of equal ones go."""
    keep = np.zeros(weight.shape, np.bool_)
    for row in range(weight.shape[0]):
        for start in range(0, weight.shape[1], m):
            group = np.abs(weight[row, start : start + m])
            order = sorted(range(len(group)), key=lambda i: (group[i], i))
            for index in order[-n:]:
                keep[row, start + index] = True
    return keep


@given(weights, shares)
def test_magnitude_counts_exactly_and_keeps_the_largest(weight: np.ndarray, share: float) -> None:
    mask = pruning.magnitude(weight, share)
    assert mask.dtype == np.bool_
    assert mask.shape == weight.shape
    assert (~mask).sum() == round(share * weight.size)
    order = sorted(range(weight.size), key=lambda i: (abs(weight.flat[i]), i))
    expected = np.ones(weight.size, np.bool_)
    expected[order[: round(share * weight.size)]] = False
    np.testing.assert_array_equal(mask.reshape(-1), expected)


@given(st.lists(weights, min_size=1, max_size=4), shares)
def test_global_magnitude_is_magnitude_of_all_together(
    several: list[np.ndarray], share: float
) -> None:
    masks = pruning.magnitude_global(several, share)
    flat = np.concatenate([weight.reshape(-1) for weight in several])
    together = pruning.magnitude(flat[None], share)[0]
    assert [mask.shape for mask in masks] == [weight.shape for weight in several]
    np.testing.assert_array_equal(np.concatenate([m.reshape(-1) for m in masks]), together)


@given(weights, patterns())
def test_nm_holds_in_every_group(weight: np.ndarray, pattern: tuple[int, int]) -> None:
    n, m = pattern
    mask = pruning.nm(weight, n, m)
    np.testing.assert_array_equal(mask, nm_by_hand(weight, n, m))
    columns = weight.shape[1]
    for start in range(0, columns, m):
        kept = mask[:, start : start + m].sum(axis=1)
        assert (kept == min(n, columns - start)).all()


@given(weights, shares, st.integers(1, 5), st.integers(1, 6), st.sampled_from(["l1", "l2"]))
def test_blocks_go_whole(weight: np.ndarray, share: float, rows: int, cols: int, norm: str) -> None:
    mask = pruning.block(weight, share, rows, cols, norm)
    gone, kept = [], []
    for top in range(0, weight.shape[0], rows):
        for left in range(0, weight.shape[1], cols):
            part = np.s_[top : top + rows, left : left + cols]
            assert mask[part].all() or not mask[part].any()
            size = np.abs(weight[part].astype(np.float64)) ** (1 if norm == "l1" else 2)
            (kept if mask[part].all() else gone).append(size.sum())
    blocks = math.ceil(weight.shape[0] / rows) * math.ceil(weight.shape[1] / cols)
    assert len(gone) == round(share * blocks)
    if gone and kept:
        assert max(gone) <= min(kept)


@given(weights, shares, st.data())
def test_wanda_compares_within_each_row(
    weight: np.ndarray, share: float, data: st.DataObject
) -> None:
    width = weight.shape[1]
    norms = data.draw(hnp.arrays(np.float64, width, elements=st.sampled_from([0.0, 1.0, 3.0])))
    mask = pruning.wanda(weight, norms, share)
    assert ((~mask).sum(axis=1) == round(share * width)).all()
    scores = np.abs(weight) * norms
    for row in range(len(weight)):
        if mask[row].any() and not mask[row].all():
            assert scores[row][~mask[row]].max() <= scores[row][mask[row]].min()


@given(weights, patterns())
def test_wanda_with_a_pattern(weight: np.ndarray, pattern: tuple[int, int]) -> None:
    norms = 1.0 + np.arange(weight.shape[1]) % 3
    mask = pruning.wanda(weight, norms, pattern=pattern)
    np.testing.assert_array_equal(mask, nm_by_hand(weight * norms, *pattern))


def test_wanda_with_blocks() -> None:
    weight = np.array([[1.0, 1.0, 2.0, 2.0], [9.0, 0.0, 1.0, 1.0]])
    norms = np.array([1.0, 1.0, 1.0, 0.1])
    mask = pruning.wanda(weight, norms, 0.5, block=(1, 2))
    np.testing.assert_array_equal(mask, [[False, False, True, True], [True, True, False, False]])


def test_wanda_prunes_what_magnitude_would_keep(rng: np.random.Generator) -> None:
    x = rng.standard_normal((500, 32)) * np.where(np.arange(32) < 16, 10.0, 0.1)
    weight = rng.standard_normal((8, 32)) + np.where(np.arange(32) < 16, 0.0, 3.0)
    norms = pruning.InputNorms(32)
    norms.update(x)
    by_inputs, by_size = pruning.wanda(weight, norms, 0.5), pruning.magnitude(weight, 0.5)
    lost = [(((weight * ~mask) @ x.T) ** 2).sum() for mask in (by_inputs, by_size)]
    assert lost[0] < 0.01 * lost[1]


def test_statistics_do_not_depend_on_batches(rng: np.random.Generator) -> None:
    x = rng.standard_normal((9001, 5)).astype(np.float32)
    whole, parts = pruning.InputHessian(5), pruning.InputHessian(5)
    norms = pruning.InputNorms(5)
    whole.update(x)
    norms.update(x.reshape(-1, 1, 5))
    for start in range(0, 9001, 1000):
        parts.update(x[start : start + 1000])
    assert whole.rows == parts.rows == norms.rows == 9001
    exact = x.astype(np.float64).T @ x
    np.testing.assert_allclose(whole.matrix(), exact / 9001, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(parts.matrix(), whole.matrix(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(norms.norms(), np.linalg.norm(x, axis=0), rtol=1e-5)
    np.testing.assert_allclose(whole.norms(), norms.norms(), rtol=1e-12)


def test_statistics_take_float16_and_empty_batches() -> None:
    norms = pruning.InputNorms(3)
    norms.update(np.zeros((0, 3), np.float32))
    with pytest.raises(ValueError, match="expected at least one row of calibration inputs"):
        norms.norms()
    norms.update(np.full((2, 3), 300, np.float16))
    np.testing.assert_allclose(norms.norms(), 300 * math.sqrt(2))


def test_the_same_again(rng: np.random.Generator) -> None:
    weight = rng.integers(-2, 3, (40, 60)).astype(np.float32)
    for make in (
        lambda w: pruning.magnitude(w, 0.5),
        lambda w: pruning.nm(w, 2, 4),
        lambda w: pruning.block(w, 0.5, 2, 4),
        lambda w: pruning.wanda(w, np.ones(60), 0.5),
    ):
        first = make(weight)
        np.testing.assert_array_equal(first, make(np.asfortranarray(weight)))
        np.testing.assert_array_equal(first, make(weight.astype(np.float64)))


WEIGHT = np.ones((4, 8), np.float32)
BAD: list[tuple[str, Any, type[Exception], str]] = [
    ("nan", lambda: pruning.magnitude(WEIGHT * np.nan, 0.5), ValueError, "weight: expected finite"),
    ("ints", lambda: pruning.nm(np.ones((4, 8), int), 2, 4), TypeError, "weight: expected float16"),
    ("1-d", lambda: pruning.block(WEIGHT[0], 0.5, 1, 4), ValueError, "weights.0.: expected shape"),
    ("one", lambda: pruning.magnitude(WEIGHT, 1.0), ValueError, r"sparsity: .* in \[0, 1\), got 1"),
    ("below", lambda: pruning.magnitude(WEIGHT, -0.1), ValueError, "sparsity: expected a value"),
    ("nan share", lambda: pruning.magnitude(WEIGHT, math.nan), ValueError, "sparsity: .* finite"),
    ("text", lambda: pruning.magnitude(WEIGHT, "half"), TypeError, "sparsity: expected a number"),
    ("n > m", lambda: pruning.nm(WEIGHT, 5, 4), ValueError, "n: expected fewer than m = 4, got 5"),
    ("n = m", lambda: pruning.nm(WEIGHT, 4, 4), ValueError, "n: expected fewer than m = 4, got 4"),
    ("n = 0", lambda: pruning.nm(WEIGHT, 0, 4), ValueError, "n: expected a value in"),
    ("m = 17", lambda: pruning.nm(WEIGHT, 2, 17), ValueError, r"m: expected a value in \[2, 16\]"),
    ("rows", lambda: pruning.block(WEIGHT, 0.5, 0, 4), ValueError, "rows: expected a value"),
    ("norm", lambda: pruning.block(WEIGHT, 0.5, 1, 4, "l3"), ValueError, "norm: expected one of"),
    ("array", lambda: pruning.magnitude_global(WEIGHT, 0.5), TypeError, "weights: expected a list"),
    (
        "width",
        lambda: pruning.wanda(WEIGHT, np.ones(7), 0.5),
        ValueError,
        r"inputs: .* \(8,\), got",
    ),
    ("norms", lambda: pruning.wanda(WEIGHT, -np.ones(8), 0.5), ValueError, "inputs: .* negative"),
    ("int norms", lambda: pruning.wanda(WEIGHT, np.ones(8, int), 0.5), TypeError, "inputs: .* int"),
    ("neither", lambda: pruning.wanda(WEIGHT, np.ones(8)), ValueError, "sparsity: .* got neither"),
    (
        "both",
        lambda: pruning.wanda(WEIGHT, np.ones(8), 0.5, pattern=(2, 4)),
        ValueError,
        "pattern: expected without sparsity, got both",
    ),
    (
        "pattern and block",
        lambda: pruning.wanda(WEIGHT, np.ones(8), pattern=(2, 4), block=(1, 4)),
        ValueError,
        "pattern: expected without block, got both",
    ),
    (
        "pattern",
        lambda: pruning.wanda(WEIGHT, np.ones(8), pattern="2:4"),
        TypeError,
        "pattern: expected two integers",
    ),
    ("no rows", lambda: pruning.wanda(WEIGHT, pruning.InputNorms(8), 0.5), ValueError, "one row"),
    ("x", lambda: pruning.InputNorms(8).update(np.ones((3, 7))), ValueError, r"x: .* \(..., 8\)"),
    (
        "x nan",
        lambda: pruning.InputNorms(1).update(np.array([[np.nan]])),
        ValueError,
        "x: .*finite",
    ),
    ("x int", lambda: pruning.InputHessian(1).update(np.array([[1]])), TypeError, "x: .* floats"),
]


@pytest.mark.parametrize(("make", "kind", "message"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_bad_input(make: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        make()


def test_nothing_to_prune() -> None:
    assert pruning.magnitude_global([], 0.5) == []
    for shape in ((0, 4), (3, 0)):
        empty = np.zeros(shape, np.float32)
        assert pruning.magnitude(empty, 0.5).shape == shape
        assert pruning.nm(empty, 2, 4).shape == shape
        assert pruning.block(empty, 0.5, 1, 4).shape == shape
