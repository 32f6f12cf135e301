# SPDX-License-Identifier: Apache-2.0
"""SparseLinear with its weight as a bitmap: the bits of the dense layer, the bytes it promises."""

from __future__ import annotations

import numpy as np
import pytest

import octavo
from native import needs_core
from octavo import _backend, runtime, tuning


def pruned(n: int, k: int, sparsity: float) -> np.ndarray:
    random = np.random.default_rng(n + k)
    codes = random.integers(-127, 128, (n, k)).astype(np.int8)
    codes[random.random((n, k)) < sparsity] = 0
    return codes


@pytest.mark.parametrize("tier", runtime.isa_tiers())
@pytest.mark.parametrize(("n", "k"), [(1, 1), (50, 37), (150, 700), (33, 0)])
def test_the_bits_of_the_dense_layer(tier: str, n: int, k: int) -> None:
    codes, scale = pruned(n, k, 0.7), np.linspace(0.01, 0.02, n, dtype=np.float32)
    with runtime.use_isa(tier):
        layers = [
            octavo.nn.SparseLinear.from_quantized(codes, scale, format=name, activation="gelu")
            for name in ("bitmap", "dense")
        ]
        for m in (1, 3, 4, 5, 9, 40):
            x = np.random.default_rng(m).standard_normal((m, k)).astype(np.float32)
            y, expected = (layer(x) for layer in layers)
            np.testing.assert_array_equal(y.view(np.int32), expected.view(np.int32))


@needs_core
def test_numpy_gives_the_same_bits() -> None:
    codes, scale = pruned(40, 90, 0.5), np.full(40, 0.01, np.float32)
    x = np.random.default_rng(0).standard_normal((6, 90)).astype(np.float32)
    results = []
    for name in ("native", "numpy"):
        with _backend.use(name):
            layer = octavo.nn.SparseLinear.from_quantized(codes, scale, format="bitmap")
            assert layer.format == "bitmap"
            np.testing.assert_array_equal(layer.weight_codes, codes)
            results.append(layer(x))
    np.testing.assert_array_equal(results[0].view(np.int32), results[1].view(np.int32))


@needs_core
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9, 1.0])
def test_bytes_follow_the_zeros(sparsity: float) -> None:
    codes = pruned(64, 512, sparsity)
    with _backend.use("native"):
        layer = octavo.nn.SparseLinear.from_quantized(codes, 0.1, format="bitmap")
    most = codes.size / 8 + np.count_nonzero(codes) + 64 + 8 * 64 + 4 * 3 * 4
    assert layer.nbytes <= most


@needs_core
def test_auto_takes_it_only_where_no_number_of_rows_loses() -> None:
    codes = pruned(64, 512, 0.5)
    with _backend.use("native"):
        for tier in runtime.isa_tiers():
            table = tuning.costs(tier)["bitmap"]
            with runtime.use_isa(tier):
                chosen = octavo.nn.SparseLinear.from_quantized(codes, 0.1).format
            assert chosen != "bitmap" or max(table) < 1
