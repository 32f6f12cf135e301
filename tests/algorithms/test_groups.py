# SPDX-License-Identifier: Apache-2.0
"""Codes in groups: searched scales, and GPTQ with a scale for each group."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import octavo
from octavo.algorithms.rounding import dequantized, gptq, nearest_groups, rounded_inputs
from octavo.nn.weights import Int4Weight


def weights(n: int, k: int, seed: int = 0) -> np.ndarray:
    """Rows with a few large weights."""
    return np.random.default_rng(seed).standard_t(3, (n, k)).astype(np.float32)


def correlated(rows: int, k: int, seed: int = 0) -> np.ndarray:
    """Inputs of few causes, some much larger than others."""
    rng = np.random.default_rng(seed)
    causes = rng.standard_normal((rows, k // 4)) @ rng.standard_normal((k // 4, k))
    return (causes + 0.3 * rng.standard_normal((rows, k))) * np.exp(rng.standard_normal(k))


def lost(weight: np.ndarray, found: tuple[Any, Any], group: int, hessian: np.ndarray) -> float:
    gap = dequantized(*found, group) - weight.astype(np.float64)
    return float(np.einsum("ij,jk,ik->", gap, hessian, gap))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("k", "group"), [(96, 32), (100, 64), (128, 128), (7, 32)])
@pytest.mark.parametrize("bits", [2, 4, 5, 8])
def test_a_searched_scale_loses_no_more(bits: int, k: int, group: int, weighted: bool) -> None:
    """Group by group, by what errors count; and the codes are the nearest by their scales."""
    weight = weights(40, k)
    importance = np.exp(3 * np.random.default_rng(1).standard_normal(k)) if weighted else None
    counts = np.ones(k) if importance is None else importance
    errors = {}
    for scale in ("max", "search"):
        codes, scales = nearest_groups(weight, group, bits, scale=scale, importance=importance)
        assert (codes.dtype, scales.dtype) == (np.int8, np.float16)
        square = np.square(dequantized(codes, scales, group) - weight) * counts
        errors[scale] = np.add.reduceat(square, range(0, k, group), axis=1)
        given = scales.astype(np.float32).repeat(group, axis=1)[:, :k]
        nearest = np.clip(np.rint(weight / given), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        np.testing.assert_array_equal(codes, nearest)
    assert (errors["search"] <= errors["max"] * (1 + 1e-5)).all()
    assert errors["search"].sum() < 0.95 * errors["max"].sum()


def test_the_largest_becomes_the_top_code() -> None:
    """As the weight itself rounds, but that scales have 16 bits."""
    weight = weights(8, 64)
    codes, scales = nearest_groups(weight, 32, scale="max")
    plain = Int4Weight.from_float(weight, group=32)
    np.testing.assert_allclose(scales, plain.scale, rtol=2**-11)
    assert (codes != plain.codes).mean() < 0.01


@pytest.mark.parametrize("by_activation", [False, True])
@pytest.mark.parametrize("group", [32, 64])
def test_gptq_in_groups_beats_rounding(group: int, by_activation: bool) -> None:
    weight, x = weights(24, 128), correlated(2000, 128)
    hessian = x.T @ x / len(x)
    found = gptq(weight, hessian, 4, group=group, by_activation=by_activation)
    assert found[1].shape == (24, 128 // group)
    rounded = nearest_groups(weight, group, importance=np.diagonal(hessian))
    assert lost(weight, found, group, hessian) < 0.6 * lost(weight, rounded, group, hessian)
    other = correlated(2000, 128, seed=1)[:, ::-1]  # nothing like what it was made for
    assert lost(weight, found, group, other.T @ other) < np.inf
    again = gptq(weight, hessian, 4, group=group, by_activation=by_activation, columns=300)
    np.testing.assert_array_equal(found[0], again[0])
    np.testing.assert_array_equal(found[1], again[1])


@pytest.mark.parametrize("by_activation", [False, True])
def test_a_group_of_all_inputs_is_a_row(by_activation: bool) -> None:
    weight, x = weights(24, 60), correlated(500, 60)
    hessian = x.T @ x
    # So wide that no code reaches the one that rows leave out.
    scale = np.abs(weight).max(axis=1) / 4
    options: dict[str, Any] = {"by_activation": by_activation}
    codes, scales = gptq(weight, hessian, 4, scale=scale, **options)
    grouped = gptq(weight, hessian, 4, group=64, scale=scale[:, None], **options)
    assert np.abs(codes).max() < 8
    np.testing.assert_array_equal(codes, grouped[0])
    np.testing.assert_array_equal(scales[:, None], grouped[1])


def test_zeros_of_a_mask_stay() -> None:
    weight, x = weights(16, 96), correlated(500, 96)
    mask = np.abs(weight) > 1
    codes, _ = gptq(weight, x.T @ x, 4, group=32, mask=mask)
    assert not codes[~mask].any()
    assert codes[mask].any()


@pytest.mark.parametrize("size", [0.0, 1e-38, 1e-5, 1e5, 1e30])
def test_weights_of_any_size(size: float) -> None:
    """Scales have 32 bits where 16 are too narrow; what vanishes beside the rest has code 0."""
    weight = weights(6, 64) * np.float32(size)
    weight[2] *= np.float32(1e-8)
    weight[3, :32] = 0
    hessian = np.diag(np.arange(64.0))
    for codes, scales in (
        nearest_groups(weight, 32, importance=np.zeros(64)),
        gptq(weight, hessian, 4, group=32),
    ):
        assert np.isfinite(scales).all()
        assert scales.all()
        again = Int4Weight.from_quantized(codes, scales, group=32).dequantized()
        reach = np.abs(weight).max(axis=1, keepdims=True)
        assert (np.abs(again - weight) <= 0.2 * reach.max()).all()
        if size == 1e30:
            assert scales.dtype == np.float32


def test_inputs_are_read_as_the_layer_quantizes_them() -> None:
    x = correlated(50, 100).astype(np.float32)
    weight = Int4Weight.from_quantized(np.eye(100, dtype=np.int8), np.ones((100, 4)), group=32)
    layer = octavo.Linear.of(weight)
    np.testing.assert_allclose(rounded_inputs(x, 32), layer(x), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": 48}, r"^group: expected 32, 64 or 128, got 48"),
        ({"group": 0}, "^group: expected"),
        ({"scale": "mean"}, "^scale: expected .*, got 'mean'"),
        ({"importance": np.ones(5)}, r"^importance: expected shape \(64,\)"),
        ({"importance": -np.ones(64)}, "^importance: expected values of at least 0, got -1.0"),
        ({"importance": np.full(64, np.nan)}, "^importance: expected finite"),
        ({"bits": 9}, "^bits: expected"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nearest_groups(weights(2, 64), **options)


@pytest.mark.parametrize(
    ("hessian", "options", "message"),
    [
        (np.eye(64), {"group": 48}, r"^group: expected 32, 64 or 128, got 48"),
        (np.full((64, 64), np.nan), {}, "^hessian: expected finite"),
        (np.ones((64, 64)), {"damping": 0}, "^hessian: expected a positive definite"),
        (np.eye(64), {"scale": np.ones(2)}, r"^scale: expected shape \(2, 2\)"),
        (np.eye(64), {"scale": np.zeros((2, 2))}, "^scale: expected values other than 0"),
        (np.eye(64), {"codebook": [1, 2]}, "^codebook: expected none beside group"),
    ],
)
def test_bad_arguments_of_gptq(hessian: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gptq(weights(2, 64), hessian, 4, **{"group": 32, **options})
