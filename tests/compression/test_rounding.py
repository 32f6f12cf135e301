# SPDX-License-Identifier: Apache-2.0
"""GPTQ against all possible codes, a slow form of its formula, and rounding to nearest."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import octavo
from octavo.algorithms import pruning


def inputs(rng: np.random.Generator, rows: int, width: int) -> np.ndarray:
    """Inputs of low rank plus a little noise, as activations are."""
    rank = max(1, width // 4)
    mixed = rng.standard_normal((rows, rank)) @ rng.standard_normal((rank, width))
    return mixed + 0.1 * rng.standard_normal((rows, width))


def damped(h: np.ndarray, damping: float) -> np.ndarray:
    return h + damping * np.diagonal(h).mean() * np.eye(len(h))


def error(weight: np.ndarray, codes: np.ndarray, scale: np.ndarray, h: np.ndarray) -> np.ndarray:
    """The Hessian-weighted error of each row."""
    gap = weight - codes * scale.astype(np.float64)[:, None]
    return np.einsum("ij,jk,ik->i", gap, h, gap)


def nearest(weight: np.ndarray, scale: np.ndarray, bits: int) -> np.ndarray:
    most = 2 ** (bits - 1) - 1
    return np.clip(np.rint(weight / scale.astype(np.float64)[:, None]), -most, most)


def slow(
    weight: np.ndarray, h: np.ndarray, scale: np.ndarray, bits: int, order: np.ndarray
) -> np.ndarray:
    """Optimal brain quantization in a fixed order: weight by weight, each with a new inverse."""
    most = 2 ** (bits - 1) - 1
    codes = np.zeros(weight.shape)
    for row, values in enumerate(weight.astype(np.float64)):
        rest = values.copy()
        for place, j in enumerate(order):
            left = order[place:]
            inverse = np.linalg.inv(h[np.ix_(left, left)])
            step = float(scale[row])
            codes[row, j] = np.clip(np.rint(rest[j] / step), -most, most)
            lost = rest[j] - codes[row, j] * step
            rest[left] -= lost / inverse[0, 0] * inverse[0]
    return codes


@pytest.mark.parametrize("columns", [1, 5, 128])
@pytest.mark.parametrize("by_activation", [False, True])
@pytest.mark.parametrize("bits", [3, 8])
def test_equals_the_slow_reference(
    rng: np.random.Generator, bits: int, by_activation: bool, columns: int
) -> None:
    x, weight = inputs(rng, 200, 12), rng.standard_normal((6, 12))
    h = damped(x.T @ x / len(x), 0.02)
    options: dict[str, Any] = {"by_activation": by_activation, "columns": columns}
    codes, scale = octavo.algorithms.rounding.gptq(
        weight, x.T @ x / len(x), bits, damping=0.02, **options
    )
    order = np.argsort(-np.diagonal(h), kind="stable") if by_activation else np.arange(12)
    wanted, plain = slow(weight, h, scale, bits, order), nearest(weight, scale, bits)
    worse = error(weight, wanted, scale, h) >= error(weight, plain, scale, h)
    wanted[worse] = plain[worse]
    assert not worse.all()
    np.testing.assert_array_equal(codes, wanted)


def test_between_nearest_and_the_best_of_all_codes(rng: np.random.Generator) -> None:
    found = np.zeros((3, 60))
    grid = np.array(list(itertools.product((-1, 0, 1), repeat=4)))
    for index in range(60):
        x, weight = inputs(rng, 50, 4), rng.standard_normal((1, 4))
        h = damped(x.T @ x / len(x), 0.01)
        codes, scale = octavo.algorithms.rounding.gptq(weight, x.T @ x / len(x), 2)
        got = error(weight, codes, scale, h)[0]
        plain = error(weight, nearest(weight, scale, 2), scale, h)[0]
        best = min(error(weight, row[None], scale, h)[0] for row in grid)
        assert best <= got * (1 + 1e-9)
        assert got <= plain * (1 + 1e-9)
        found[:, index] = best, got, plain
    _, got, plain = found
    hits = (found <= found[0] * (1 + 1e-9)).sum(axis=1)
    assert hits[1] > hits[2]  # greedy finds the best more often than rounding to nearest
    assert got.sum() < 0.5 * plain.sum()


@given(
    st.integers(1, 6),
    st.integers(1, 40),
    st.integers(2, 8),
    st.sampled_from(["max", "search"]),
    st.booleans(),
    st.integers(0, 99),
)
def test_never_worse_than_nearest(
    rows: int, width: int, bits: int, scale: str, by_activation: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x, weight = inputs(rng, 30, width), rng.standard_normal((rows, width)).astype(np.float32)
    hessian = pruning.InputHessian(width)
    hessian.update(x)
    codes, scales = octavo.algorithms.rounding.gptq(
        weight, hessian, bits, scale=scale, by_activation=by_activation
    )
    assert (codes.dtype, codes.shape) == (np.int8, weight.shape)
    assert (scales.dtype, scales.shape) == (np.float32, (rows,))
    assert np.abs(codes).max() <= 2 ** (bits - 1) - 1
    h = damped(hessian.matrix(), 0.01)
    plain = error(weight, nearest(weight, scales, bits), scales, h)
    assert (error(weight, codes, scales, h) <= plain * (1 + 1e-9)).all()


def test_gains_on_correlated_inputs(rng: np.random.Generator) -> None:
    x, weight = inputs(rng, 500, 96), rng.standard_normal((64, 96))
    h = x.T @ x / len(x)
    for bits in (8, 4):
        totals = {}
        for scale in ("max", "search"):
            codes, scales = octavo.algorithms.rounding.gptq(weight, h, bits, scale=scale)
            totals[scale] = error(weight, codes, scales, h).sum()
            plain = error(weight, nearest(weight, scales, bits), scales, h).sum()
            assert totals[scale] < 0.3 * plain
        assert totals["search"] < totals["max"] * (0.9 if bits == 4 else 1.05)


def test_is_nearest_where_inputs_are_independent(rng: np.random.Generator) -> None:
    weight = rng.standard_normal((20, 30)).astype(np.float32)
    for by_activation in (False, True):
        codes, scale = octavo.algorithms.rounding.gptq(
            weight, np.eye(30), scale="max", damping=0, by_activation=by_activation
        )
        np.testing.assert_array_equal(codes, nearest(weight, scale, 8))
        exact = octavo.quantize(weight, axis=0)
        np.testing.assert_array_equal(scale, exact.scale)
        np.testing.assert_array_equal(codes, exact.data)


def test_masked_weights_stay_zero_and_others_make_up(rng: np.random.Generator) -> None:
    x, weight = inputs(rng, 300, 40), rng.standard_normal((16, 40))
    h = x.T @ x / len(x)
    mask = pruning.magnitude(weight, 0.5)
    codes, scale = octavo.algorithms.rounding.gptq(weight, h, 4, mask=mask)
    assert not codes[~mask].any()
    pruned = np.where(mask, weight, 0)
    plain = np.where(mask, nearest(pruned, scale, 4), 0)
    assert error(pruned, codes, scale, h).sum() < 0.9 * error(pruned, plain, scale, h).sum()


def test_codes_come_from_the_codebook(rng: np.random.Generator) -> None:
    x, weight = inputs(rng, 300, 40), rng.standard_normal((16, 40))
    h = x.T @ x / len(x)
    book = np.array([-127, -60, -20, -5, 0, 7, 25, 70, 120], np.int8)
    codes, scale = octavo.algorithms.rounding.gptq(weight, h, codebook=book)
    assert set(np.unique(codes)) <= set(book.tolist())
    gaps = np.abs((weight / scale.astype(np.float64)[:, None])[..., None] - book)
    plain = book[gaps.argmin(axis=-1)]
    assert error(weight, codes, scale, h).sum() < 0.7 * error(weight, plain, scale, h).sum()
    one, scale = octavo.algorithms.rounding.gptq(weight, h, codebook=[3])
    assert (one == 3).all()


def test_inputs_that_never_come(rng: np.random.Generator) -> None:
    x, weight = inputs(rng, 300, 10), rng.standard_normal((4, 10))
    x[:, 3] = 0
    codes, scale = octavo.algorithms.rounding.gptq(weight, x.T @ x / len(x), scale="max")
    assert error(weight, codes, scale, x.T @ x).sum() <= error(
        weight, nearest(weight, scale, 8), scale, x.T @ x
    ).sum() * (1 + 1e-9)
    np.testing.assert_array_equal(codes[:, 3], nearest(weight, scale, 8)[:, 3])


def test_one_row_of_data(rng: np.random.Generator) -> None:
    hessian = pruning.InputHessian(30)
    x, weight = rng.standard_normal((1, 30)), rng.standard_normal((50, 30))
    hessian.update(x)
    codes, scale = octavo.algorithms.rounding.gptq(weight, hessian, 4)
    off = np.abs(x @ (weight - codes * scale[:, None]).T).mean()
    plain = np.abs(x @ (weight - nearest(weight, scale, 4) * scale[:, None]).T).mean()
    assert off < 0.5 * plain
    with pytest.raises(ValueError, match=r"hessian: expected a positive definite .* at damping 0;"):
        octavo.algorithms.rounding.gptq(weight, hessian, damping=0)


def test_rows_of_zeros_and_empty_weights() -> None:
    weight = np.array([[0.0, 0.0], [1.0, -0.5]])
    codes, scale = octavo.algorithms.rounding.gptq(weight, np.eye(2))
    np.testing.assert_array_equal(codes[0], [0, 0])
    assert scale[0] == 1
    for shape in ((0, 2), (2, 0)):
        codes, scale = octavo.algorithms.rounding.gptq(np.zeros(shape), np.eye(shape[1]))
        assert (codes.shape, scale.shape) == (shape, shape[:1])


def test_arguments_are_left_alone(rng: np.random.Generator) -> None:
    weight, h = rng.standard_normal((4, 6)), np.eye(6)
    before = weight.copy(), h.copy()
    octavo.algorithms.rounding.gptq(weight, h, by_activation=True, mask=weight > 0)
    np.testing.assert_array_equal(weight, before[0])
    np.testing.assert_array_equal(h, before[1])


W, H = np.ones((2, 3)), np.eye(3)
BAD: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("nan weight", (W * np.nan, H), {}, "weight: expected finite"),
    ("nan hessian", (W, H * np.nan), {}, "hessian: expected finite"),
    ("int weight", (np.ones((2, 3), int), H), {}, "weight: expected float16, float32 or float64"),
    ("hessian shape", (W, np.eye(2)), {}, r"hessian: expected shape \(3, 3\)"),
    ("bits", (W, H, 1), {}, "bits: expected"),
    ("more bits", (W, H, 9), {}, "bits: expected"),
    ("scale name", (W, H), {"scale": "mean"}, "scale: expected"),
    ("scale shape", (W, H), {"scale": np.ones(3)}, r"scale: expected shape \(2,\)"),
    ("scale zero", (W, H), {"scale": np.zeros(2)}, "scale: expected"),
    ("mask dtype", (W, H), {"mask": np.ones((2, 3))}, "mask: expected bool, got float64"),
    ("mask shape", (W, H), {"mask": np.ones((3, 2), bool)}, r"mask: expected shape \(2, 3\)"),
    ("floats", (W, H), {"codebook": [0.5]}, "codebook: expected integers, got float64"),
    ("no code", (W, H), {"codebook": np.zeros(0, int)}, r"codebook: .* \[-127, 127\], got none"),
    ("-128", (W, H), {"codebook": [-128, 1]}, "codebook: .* got -128 to 1"),
    ("damping", (W, H), {"damping": -1}, "damping: expected a value in"),
    ("columns", (W, H), {"columns": 0}, "columns: expected"),
    ("order", (W, H), {"by_activation": 2}, "by_activation: expected"),
]


@pytest.mark.parametrize(
    ("words", "options", "message"), [b[1:] for b in BAD], ids=[b[0] for b in BAD]
)
def test_bad_arguments(words: tuple[Any, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        octavo.algorithms.rounding.gptq(*words, **options)
