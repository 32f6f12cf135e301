# SPDX-License-Identifier: Apache-2.0
"""Clusters in one dimension, and the int8 codes made of them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import octavo
from octavo.algorithms import sharing


def best_error(values: np.ndarray, clusters: int) -> float:
    """The squared error of the best clustering: in one dimension clusters are runs."""
    ordered = np.sort(values)
    least = np.inf
    for cuts in itertools.combinations(range(1, len(ordered)), clusters - 1):
        runs = np.split(ordered, cuts)
        least = min(least, sum(float(((run - run.mean()) ** 2).sum()) for run in runs))
    return least


def error(values: np.ndarray, centroids: np.ndarray) -> float:
    return float((np.abs(values[:, None] - centroids).min(axis=1) ** 2).sum())


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("clusters", [2, 3, 4])
def test_clusters_are_the_best_there_are(seed: int, clusters: int) -> None:
    values = np.random.default_rng(seed).standard_normal(14) ** 3
    found = sharing.cluster(values, clusters)
    assert len(found) == clusters
    assert error(values, found) <= best_error(values, clusters) * (1 + 1e-6) + 1e-12


def test_a_normal_distribution_gets_the_known_levels() -> None:
    # Max, Quantizing for Minimum Distortion, 1960: the outermost of 4 levels, and the error of 16.
    values = np.random.default_rng(0).standard_normal(400_000)
    assert sharing.cluster(values, 4) == pytest.approx([-1.510, -0.4528, 0.4528, 1.510], abs=0.02)
    found = sharing.cluster(values, 16)
    assert error(values[:20_000], found) / 20_000 == pytest.approx(0.009497, rel=0.05)


def test_weights_count_like_repetitions() -> None:
    values = np.array([0.0, 1.0, 5.0, 6.0])
    counts = np.array([3, 1, 1, 1])
    repeated = np.repeat(values, counts)
    assert np.allclose(
        sharing.cluster(values, 2, weight=counts), sharing.cluster(repeated, 2), rtol=0, atol=1e-12
    )


def test_a_fixed_centroid_stays() -> None:
    values = np.random.default_rng(1).standard_normal(1000) + 3
    found = sharing.cluster(values, 5, fixed=0.0)
    assert len(found) == 5
    assert (found == 0).sum() == 1


def test_fewer_values_than_clusters() -> None:
    assert sharing.cluster([2.0, 2.0, -1.0], 16).tolist() == [-1.0, 2.0]
    assert sharing.cluster([7.0], 4).tolist() == [7.0]


@pytest.mark.parametrize("clusters", [4, 7, 16, 32, 256])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_share(clusters: int, dtype: str) -> None:
    rng = np.random.default_rng(clusters)
    weight = (rng.standard_normal((48, 64)) * rng.uniform(0.1, 9, (48, 1))).astype(dtype)
    shared = sharing.share(weight, clusters)
    assert shared.codes.dtype == np.int8
    assert shared.scale.dtype == np.float32
    assert shared.codes.min() >= -127
    assert len(shared.codebook) <= clusters
    assert np.array_equal(np.unique(shared.codes), shared.codebook)
    wide = weight.astype(np.float64)
    # Best possible for a normal distribution: 1.32 / clusters squared to begin with; rows differ.
    noise = ((wide - shared.codes * shared.scale[:, None]) ** 2).sum() / (wide**2).sum()
    assert noise < max(3.0 / clusters**2, 2e-4)
    # The scales are those of least squares: no other factor brings a row nearer.
    codes = shared.codes.astype(np.float64)
    best = (wide * codes).sum(axis=1) / (codes**2).sum(axis=1)
    assert np.allclose(shared.scale, best, rtol=0.05)
    again = sharing.share(weight, clusters)
    assert all(np.array_equal(a, b) for a, b in zip(shared, again, strict=True))


def test_zeros_stay_zeros() -> None:
    rng = np.random.default_rng(3)
    weight = rng.standard_normal((32, 40)).astype(np.float32)
    weight[rng.random(weight.shape) < 0.5] = 0
    weight[5] = 0
    shared = sharing.share(weight, 8)
    assert (shared.codes[weight == 0] == 0).all()
    assert 0 in shared.codebook
    assert len(shared.codebook) == 8
    assert np.isfinite(shared.scale).all()
    assert (shared.scale > 0).all()


def test_nothing_but_zeros() -> None:
    shared = sharing.share(np.zeros((3, 4), np.float32), 4)
    assert not shared.codes.any()
    assert shared.codebook.tolist() == [0]


def test_layers_take_what_comes() -> None:
    weight = np.random.default_rng(4).standard_normal((24, 32)).astype(np.float32)
    codes, scale, codebook = sharing.share(weight, 16)
    layer = octavo.Linear.from_quantized(codes, scale)
    assert np.array_equal(np.unique(layer.weight_codes), codebook)
    assert np.abs(layer.weight - weight).max() < 0.6
    assert octavo.Embedding(codes, scale).embedding_dim == 32


def test_the_nearest_code_of_every_half() -> None:
    codebook = np.array([-127, -50, -3, 0, 4, 90], np.int8)
    values = np.arange(-150, 150, 0.25)
    far = np.abs(values[:, None] - codebook)
    # Of two equally near ones, the larger.
    expected = codebook[len(codebook) - 1 - far[:, ::-1].argmin(axis=1)]
    assert np.array_equal(sharing.nearest_codes(values, codebook), expected)


ONE = np.ones((2, 2), np.float32)
BAD: dict[str, tuple[type[Exception], str, Any]] = {
    "clusters 3": (ValueError, r"clusters: expected a value in \[4, 256\]", (ONE, 3)),
    "clusters 257": (ValueError, r"clusters: expected a value in \[4, 256\]", (ONE, 257)),
    "clusters 4.0": (TypeError, "clusters: expected an integer", (ONE, 4.0)),
    "int8": (TypeError, "weight: expected float16, float32 or float64", (ONE.astype("i1"), 4)),
    "vector": (ValueError, "weight: expected shape", (ONE[0], 4)),
    "nan": (ValueError, "weight: expected finite", (ONE * np.nan, 4)),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_weights(case: str) -> None:
    kind, message, arguments = BAD[case]
    with pytest.raises(kind, match=message):
        sharing.share(*arguments)


BAD_VALUES: dict[str, tuple[type[Exception], str, Any]] = {
    "none": (ValueError, "values: expected at least one", lambda: sharing.cluster([], 4)),
    "nan": (ValueError, "values: expected finite", lambda: sharing.cluster([np.nan], 4)),
    "text": (TypeError, "values: expected", lambda: sharing.cluster(np.array(["a"]), 4)),
    "one": (ValueError, r"clusters: .*\[2, 256\]", lambda: sharing.cluster([1.0], 1)),
    "shape": (ValueError, "weight: ", lambda: sharing.cluster([1.0], 2, weight=[1.0, 2.0])),
    "negative": (ValueError, "weight: ", lambda: sharing.cluster([1.0], 2, weight=[-1.0])),
    "fixed": (ValueError, "fixed: ", lambda: sharing.cluster([1.0], 2, fixed=np.inf)),
}


@pytest.mark.parametrize("case", BAD_VALUES)
def test_bad_values(case: str) -> None:
    kind, message, call = BAD_VALUES[case]
    with pytest.raises(kind, match=message):
        call()
