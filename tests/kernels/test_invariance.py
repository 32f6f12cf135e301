# SPDX-License-Identifier: Apache-2.0
"""A row's result depends on that row alone: not on its batch, place, stride, tier or threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import octavo
from isa_tiers import TIERS
from octavo import _backend, functional, runtime
from octavo.nn import FloatLinear
from reference import assert_same_bits

Array = np.ndarray[Any, np.dtype[Any]]
Function = Callable[[Array], Array]
K = 200


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest, isa: str) -> Iterator[int]:
    before = octavo.runtime.get_num_threads()
    octavo.runtime.set_num_threads(request.param)
    yield request.param
    octavo.runtime.set_num_threads(before)


def make_functions() -> dict[str, Function]:
    """Functions of (rows, K) whose result has one row, or one value, per row."""
    rng = np.random.default_rng(5)
    weight = rng.normal(0, 1, (70, K)).astype(np.float32)
    bias = rng.normal(0, 1, 70).astype(np.float32)
    gain = rng.normal(1, 0.1, K).astype(np.float32)
    codes = rng.integers(-128, 128, (K, 40)).astype(np.int8)
    linear = octavo.Linear.from_float(weight, bias, activation="gelu")
    pruned = octavo.sparse.SparseMatrix.from_dense(np.where(np.abs(weight) < 1.2, 0, weight))
    static = octavo.Linear.from_float(weight, bias, input_scale=0.02, input_zero_point=-5)
    return {
        "linear": linear,
        "linear symmetric": octavo.Linear.from_float(weight, symmetric=True),
        "linear static": static,
        "float linear": FloatLinear(weight, bias, activation="gelu"),
        "quantize_dynamic codes": lambda x: functional.quantize_dynamic(x)[0],
        "quantize_dynamic scales": lambda x: functional.quantize_dynamic(x)[1],
        "quantize_dynamic points": lambda x: functional.quantize_dynamic(x)[2],
        "matmul_int8": lambda x: octavo.matmul_int8(x.astype(np.int8), codes),
        "layer_norm": lambda x: functional.layer_norm(x, gain, gain, 1e-5),
        "softmax": functional.softmax,
        "gelu": functional.gelu,
        "sparse_linear": lambda x: functional.sparse_linear(x, pruned),
        "spmm": lambda x: octavo.sparse.spmm(pruned, x.T).T,
    }


FUNCTIONS = list(make_functions())
BY_BLAS = ("float linear",)  # in the NumPy backend


def function_of(name: str) -> Function:
    if name in BY_BLAS and _backend.name == "numpy":
        pytest.skip("the NumPy backend leaves float32 layers to BLAS")
    return make_functions()[name]


def make_rows(count: int) -> Array:
    rng = np.random.default_rng(6)
    scales = rng.uniform(0.1, 30, (count, 1))
    return np.clip(rng.normal(0, 1, (count, K)) * scales, -120, 120).astype(np.float32)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_rows_stand_alone(threads: int, name: str) -> None:
    function = function_of(name)
    x = make_rows(150)
    whole = np.asarray(function(x))
    order = np.random.default_rng(7).permutation(len(x))
    assert_same_bits(function(x[order]), whole[order])
    for begin, end in ((0, 1), (3, 4), (149, 150), (0, 7), (5, 13), (9, 70)):
        assert_same_bits(function(x[begin:end]), whole[begin:end])
    assert_same_bits(function(x[::7]), whole[::7])
    assert_same_bits(function(x[::-1]), whole[::-1])
    twice = np.repeat(x[:40], 2, axis=0)
    assert_same_bits(function(twice), np.repeat(whole[:40], 2, axis=0))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_strides_do_not_matter(isa: str, name: str) -> None:
    function = function_of(name)
    x = make_rows(33)
    whole = np.asarray(function(x))
    wide = np.zeros((33, K + 11), np.float32)
    wide[:, 5 : 5 + K] = x
    assert_same_bits(function(wide[:, 5 : 5 + K]), whole)
    assert_same_bits(function(np.asfortranarray(x)), whole)
    assert_same_bits(function(np.broadcast_to(x[4], (9, K))), np.repeat(whole[4:5], 9, axis=0))


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "matmul_int8"])
def test_a_row_of_nan_stays_its_own_problem(isa: str, name: str) -> None:
    function = function_of(name)
    x = make_rows(20)
    whole = np.asarray(function(x))
    x[11, 3] = np.nan
    out = np.asarray(function(x))
    others = np.arange(20) != 11
    assert_same_bits(out[others], whole[others])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_all_tiers_agree(name: str) -> None:
    x = make_rows(45)
    results: dict[str, Array] = {}
    for tier in TIERS[name in BY_BLAS :]:
        with _backend.use("numpy" if tier == "numpy" else "native"), runtime.use_isa(tier):
            results[tier] = np.asarray(make_functions()[name](x))
    for result in results.values():
        assert_same_bits(result, next(iter(results.values())))


def test_one_layer_on_all_tiers() -> None:
    if len(TIERS) == 1:
        pytest.skip("the native module is not built")
    x = make_rows(45)
    with _backend.use("native"):
        layer = make_functions()["linear"]
        results = []
        for tier in TIERS[1:]:
            with runtime.use_isa(tier):
                results.append(np.asarray(layer(x)))
    for result in results:
        assert_same_bits(result, results[0])


def test_padding_does_not_reach_attention(threads: int) -> None:
    rng = np.random.default_rng(8)
    q, k, v = rng.normal(0, 1, (3, 2, 19, 32)).astype(np.float32)
    alone = functional.attention(q, k, v, heads=2)
    padded = [
        np.concatenate([a, np.full((2, 5, 32), padding, np.float32)], axis=1)
        for a, padding in ((k, np.nan), (v, np.inf))
    ]
    mask = np.ones((2, 24), bool)
    mask[:, 19:] = False
    assert_same_bits(functional.attention(q, *padded, mask, heads=2), alone)
    single = functional.attention(q[1:], k[1:], v[1:], heads=2)
    assert_same_bits(single, alone[1:])
    assert_same_bits(functional.attention(q[:, 4:9], k, v, heads=2), alone[:, 4:9])


@pytest.mark.parametrize(
    ("m", "n", "k"), [(1, 700, 300), (5, 257, 129), (200, 64, 100), (70, 500, 2500)]
)
@pytest.mark.parametrize("kind", ["int8", "float32"])
def test_threads_do_not_matter(isa: str, kind: str, m: int, n: int, k: int) -> None:
    rng = np.random.default_rng(9)
    weight = rng.normal(0, 1, (n, k)).astype(np.float32)
    multiplier = rng.normal(1, 0.1, k).astype(np.float32)
    layer = octavo.Linear.from_float(weight, kind=kind, input_multiplier=multiplier)
    x = rng.normal(0, 1, (m, k)).astype(np.float32)
    before = octavo.runtime.get_num_threads()
    try:
        octavo.runtime.set_num_threads(1)
        wanted = np.asarray(layer(x))
        for count in (2, 3, 8):
            octavo.runtime.set_num_threads(count)
            assert_same_bits(layer(x), wanted)
    finally:
        octavo.runtime.set_num_threads(before)
