# SPDX-License-Identifier: Apache-2.0
"""SparseGPT against a slow reference that follows the formula, and its promises."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octavo.algorithms import pruning


def correlated(rng: np.random.Generator, rows: int, width: int) -> np.ndarray:
    """Inputs of low rank plus a little noise, as activations are."""
    rank = max(1, width // 4)
    mixed = rng.standard_normal((rows, rank)) @ rng.standard_normal((rank, width))
    return mixed + 0.1 * rng.standard_normal((rows, width))


def hessian_of(x: np.ndarray) -> pruning.InputHessian:
    hessian = pruning.InputHessian(x.shape[1])
    hessian.update(x)
    return hessian


def damped(x: np.ndarray, damping: float) -> np.ndarray:
    h = x.T @ x / len(x)
    return h + damping * np.diagonal(h).mean() * np.eye(len(h))


def obs_rows(weight: np.ndarray, h: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Optimal brain surgeon, row by row and weight by weight from the left.

    Removing w_j moves the weights to its right by ``-w_j / inv[0, 0] * inv[0]``, where `inv` is
    the inverse of the Hessian of the columns from j on.
    """
    result = weight.astype(np.float64)
    for row in range(len(result)):
        for j in range(result.shape[1]):
            if not keep[row, j]:
                inverse = np.linalg.inv(h[j:, j:])
                result[row, j:] -= result[row, j] / inverse[0, 0] * inverse[0]
                result[row, j] = 0
    return result


def costs_from(weight: np.ndarray, h: np.ndarray, start: int, end: int) -> np.ndarray:
    """What removing each weight of some columns costs, all columns before them being fixed."""
    inverses = [np.linalg.inv(h[j:, j:])[0, 0] for j in range(start, end)]
    return weight[:, start:end] ** 2 / np.array(inverses)


def reference(weight: np.ndarray, h: np.ndarray, share: float, columns: int) -> np.ndarray:
    """Choose masks by blocks of columns, each after what was removed on the left of it."""
    keep = np.ones(weight.shape, np.bool_)
    gone = 0
    for start in range(0, weight.shape[1], columns):
        end = min(start + columns, weight.shape[1])
        costs = costs_from(obs_rows(weight, h, keep), h, start, end)
        dropped = round(share * len(weight) * end) - gone
        gone += dropped
        order = np.argsort(costs.reshape(-1), kind="stable")
        part = np.ones(costs.size, np.bool_)
        part[order[:dropped]] = False
        keep[:, start:end] = part.reshape(costs.shape)
    return obs_rows(weight, h, keep)


@pytest.mark.parametrize("columns", [3, 4, 5, 12, 128])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
def test_equals_the_slow_reference(rng: np.random.Generator, columns: int, share: float) -> None:
    x, weight = correlated(rng, 200, 12), rng.standard_normal((5, 12))
    got = pruning.sparsegpt(weight, hessian_of(x), share, damping=0.02, columns=columns)
    np.testing.assert_allclose(got, reference(weight, damped(x, 0.02), share, columns), atol=1e-8)


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (3, 5), (1, 2), (5, 16)])
def test_patterns_equal_the_slow_reference(rng: np.random.Generator, n: int, m: int) -> None:
    x, weight = correlated(rng, 200, 14), rng.standard_normal((4, 14))
    got = pruning.sparsegpt(weight, hessian_of(x), pattern=(n, m), damping=0.02, columns=8)
    h, keep = damped(x, 0.02), np.ones(weight.shape, np.bool_)
    for start in range(0, 14, m):
        end = min(start + m, 14)
        costs = costs_from(obs_rows(weight, h, keep), h, start, end)
        keep[:, start:end] = pruning.nm(np.sqrt(costs), n, m)
        assert (keep[:, start:end].sum(axis=1) == min(n, end - start)).all()
    np.testing.assert_allclose(got, obs_rows(weight, h, keep), atol=1e-8)


@given(
    st.integers(1, 9), st.integers(1, 40), st.floats(0, 0.99), st.integers(1, 50), st.integers(0, 9)
)
def test_counts_are_exact(rows: int, width: int, share: float, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((rows, width)).astype(np.float32)
    hessian = hessian_of(rng.standard_normal((5, width)))
    got = pruning.sparsegpt(weight, hessian, share, columns=columns)
    assert got.dtype == np.float32
    assert (got == 0).sum() == round(share * weight.size)


@given(st.integers(1, 9), st.integers(1, 40), st.integers(1, 4), st.integers(1, 5))
def test_blocks_go_whole(rows: int, width: int, height: int, cols: int) -> None:
    rng = np.random.default_rng(rows)
    weight, hessian = (
        rng.standard_normal((rows, width)),
        hessian_of(rng.standard_normal((99, width))),
    )
    got = pruning.sparsegpt(weight, hessian, 0.5, block=(height, cols), columns=16)
    zeros = 0
    for top in range(0, rows, height):
        for left in range(0, width, cols):
            part = got[top : top + height, left : left + cols] == 0
            assert part.all() or not part.any()
            zeros += part.all()
    assert zeros == round(0.5 * math.ceil(rows / height) * math.ceil(width / cols))


@pytest.mark.parametrize("structure", [{"sparsity": 0.5}, {"pattern": (2, 4)}])
def test_beats_magnitude_and_wanda_on_the_outputs(
    rng: np.random.Generator, structure: dict[str, object]
) -> None:
    x, weight = correlated(rng, 2000, 96), rng.standard_normal((64, 96))
    hessian = hessian_of(x)
    by_size = weight * (
        pruning.magnitude(weight, 0.5) if "sparsity" in structure else pruning.nm(weight, 2, 4)
    )
    by_inputs = weight * pruning.wanda(weight, hessian, **structure)  # type: ignore[arg-type]
    second_order = pruning.sparsegpt(weight, hessian, **structure)  # type: ignore[arg-type]
    errors = [((x @ (weight - w).T) ** 2).sum() for w in (second_order, by_inputs, by_size)]
    assert errors[0] < 0.5 * min(errors[1:])


def test_without_correlation_nothing_moves(rng: np.random.Generator) -> None:
    weight = rng.standard_normal((6, 20))
    got = pruning.sparsegpt(weight, np.eye(20), 0.5, columns=20)
    np.testing.assert_allclose(got, weight * pruning.magnitude(weight, 0.5), atol=1e-12)


def test_inputs_that_never_come_go_first(rng: np.random.Generator) -> None:
    x = rng.standard_normal((100, 16))
    x[:, ::2] = 0
    weight = rng.uniform(1, 2, (8, 16))
    got = pruning.sparsegpt(weight, hessian_of(x), 0.5, columns=16)
    assert (got[:, ::2] == 0).all()
    np.testing.assert_allclose(got[:, 1::2], weight[:, 1::2], atol=1e-12)


def test_bad_input(rng: np.random.Generator) -> None:
    weight, hessian = rng.standard_normal((3, 6)), hessian_of(rng.standard_normal((50, 6)))
    with pytest.raises(ValueError, match=r"hessian: expected shape \(6, 6\), got \(5, 5\)"):
        pruning.sparsegpt(weight, np.eye(5), 0.5)
    with pytest.raises(ValueError, match="expected at least one row of calibration inputs"):
        pruning.sparsegpt(weight, pruning.InputHessian(6), 0.5)
    with pytest.raises(ValueError, match="hessian: expected a positive definite matrix"):
        pruning.sparsegpt(weight, np.ones((6, 6)), 0.5, damping=0)
    with pytest.raises(ValueError, match="hessian: expected finite values"):
        pruning.sparsegpt(weight, np.full((6, 6), np.nan), 0.5)
    with pytest.raises(ValueError, match="weight: expected finite values"):
        pruning.sparsegpt(weight * np.inf, hessian, 0.5)
    with pytest.raises(ValueError, match=r"damping: expected a value in \[0, inf\), got -1"):
        pruning.sparsegpt(weight, hessian, 0.5, damping=-1)
    with pytest.raises(ValueError, match="columns: expected a value"):
        pruning.sparsegpt(weight, hessian, 0.5, columns=0)
    with pytest.raises(ValueError, match=r"sparsity: .* got neither"):
        pruning.sparsegpt(weight, hessian)


STRUCTURES = [{"sparsity": 0.5}, {"pattern": (2, 4)}, {"sparsity": 0.5, "block": (1, 4)}]


@pytest.mark.parametrize("structure", STRUCTURES, ids=str)
def test_admm_comes_nearer_than_sparsegpt(
    rng: np.random.Generator, structure: dict[str, Any]
) -> None:
    x, weight = correlated(rng, 2000, 96), rng.standard_normal((64, 96))
    hessian = hessian_of(x)
    results = [method(weight, hessian, **structure) for method in (pruning.admm, pruning.sparsegpt)]
    errors = [((x @ (weight - w).T) ** 2).sum() for w in results]
    assert errors[0] < errors[1]
    zeros = results[0] == 0
    assert zeros.sum() == weight.size // 2
    if "sparsity" not in structure:
        assert (zeros.reshape(-1, 4).sum(axis=1) == 2).all()
    if "block" in structure:
        assert set(zeros.reshape(-1, 4).sum(axis=1)) == {0, 4}


@given(st.integers(1, 9), st.integers(1, 40), st.floats(0, 0.99), st.integers(1, 9))
def test_admm_counts_are_exact(rows: int, width: int, share: float, steps: int) -> None:
    rng = np.random.default_rng(rows)
    weight = rng.standard_normal((rows, width)).astype(np.float32)
    hessian = hessian_of(rng.standard_normal((5, width)))
    got = pruning.admm(weight, hessian, share, steps=steps)
    assert got.dtype == np.float32
    assert (got == 0).sum() == round(share * weight.size)


def test_refit_is_least_squares(rng: np.random.Generator) -> None:
    x, weight = correlated(rng, 300, 24), rng.standard_normal((7, 24))
    mask = pruning.magnitude(weight, 0.5)
    mask[3] = False
    got = pruning.refit(weight, hessian_of(x), mask, damping=0.01)
    h = damped(x, 0.01)
    for row, keep, found in zip(weight, mask, got, strict=True):
        assert (found[~keep] == 0).all()
        exact = np.linalg.solve(h[np.ix_(keep, keep)], (h @ row)[keep])
        np.testing.assert_allclose(
            found[keep], exact, atol=2e-3 * (1 + np.abs(exact).max(initial=0))
        )


def test_refit_and_admm_refuse(rng: np.random.Generator) -> None:
    weight = rng.standard_normal((3, 6))
    with pytest.raises(TypeError, match="mask: expected bool, got float64"):
        pruning.refit(weight, np.eye(6), np.ones((3, 6)))
    with pytest.raises(ValueError, match=r"mask: expected shape \(3, 6\)"):
        pruning.refit(weight, np.eye(6), np.ones((6, 3), np.bool_))
    with pytest.raises(ValueError, match="steps: expected a value"):
        pruning.admm(weight, np.eye(6), 0.5, steps=0)
    singular = np.diag([1.0, 1, 1, -1, 1, 1])
    for call in (
        lambda: pruning.admm(weight, singular, 0.5, damping=0),
        lambda: pruning.refit(weight, singular, np.ones((3, 6), np.bool_), damping=0),
    ):
        with pytest.raises(ValueError, match="hessian: expected a positive definite matrix"):
            call()


def test_output_fit_finds_the_layer_behind_the_outputs(rng: np.random.Generator) -> None:
    x, true, bias = rng.standard_normal((500, 6)), rng.standard_normal((4, 6)), np.arange(4.0)
    y = x @ true.T + bias
    fit = pruning.OutputFit(6, 4)
    for rows in np.split(np.arange(500), 5):
        fit.update(x[rows], y[rows])
    weight, hessian = fit.solve(np.zeros((4, 6)), damping=0)
    np.testing.assert_allclose(weight, true, atol=1e-10)
    np.testing.assert_allclose(fit.bias(weight), bias, atol=1e-10)
    np.testing.assert_allclose(hessian, np.cov(x.T, bias=True), atol=1e-12)
    part = fit.part(1, 3)
    np.testing.assert_allclose(part.solve(np.zeros((2, 6)), damping=0)[0], true[1:3], atol=1e-10)
    np.testing.assert_allclose(part.bias(true[1:3]), bias[1:3], atol=1e-10)


def test_output_fit_stays_where_inputs_say_nothing(rng: np.random.Generator) -> None:
    x = rng.standard_normal((50, 6))
    x[:, 4:] = 0
    old, true = rng.standard_normal((3, 6)), rng.standard_normal((3, 6))
    fit = pruning.OutputFit(6, 3)
    fit.update(x, x @ true.T)
    weight, _ = fit.solve(old, damping=1e-9)
    np.testing.assert_allclose(weight, np.hstack([true[:, :4], old[:, 4:]]), atol=1e-6)
    with pytest.raises(ValueError, match="y: expected 50 rows, as x has, got 3"):
        fit.update(x, np.ones((3, 3)))
    with pytest.raises(ValueError, match=r"weight: expected shape \(3, 6\)"):
        fit.solve(old.T, damping=0.01)
    with pytest.raises(ValueError, match="expected at least one row"):
        pruning.OutputFit(6, 3).solve(old, damping=0.01)
