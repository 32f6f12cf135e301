# SPDX-License-Identifier: Apache-2.0
"""octavo.nn.SparseLinear: the bits of Linear in every format, from anything sparse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import octavo
from octavo import Linear
from octavo.nn import SparseLinear
from octavo.qtensor import QTensor
from reference import assert_same_bits

pytestmark = pytest.mark.usefixtures("isa")

Array = np.ndarray[Any, np.dtype[Any]]
FORMATS = ("auto", "dense", *octavo.tuning.SPARSE_FORMATS)
ACTIVATIONS = ("none", "relu", "gelu", "gelu_tanh", "silu", "tanh")


def pruned(rng: np.random.Generator, n: int, k: int, share: float) -> Array:
    codes = rng.integers(-128, 128, (n, k)).astype(np.int8)
    codes[rng.random((n, k)) < share] = 0
    return codes


def pair(codes: Array, format: str, **options: Any) -> tuple[SparseLinear, Linear]:
    """The sparse layer and the dense one of the same parts."""
    n = len(codes)
    rng = np.random.default_rng(n)
    scale = rng.uniform(0.001, 0.1, n).astype(np.float32)
    bias = rng.normal(0, 1, n).astype(np.float32)
    sparse = SparseLinear.from_quantized(codes, scale, bias, format=format, **options)
    return sparse, Linear.from_quantized(codes, scale, bias, **options)


def check(codes: Array, format: str, rows: tuple[int, ...] = (1, 3, 17), **options: Any) -> None:
    sparse, dense = pair(codes, format, **options)
    if format != "auto":
        assert sparse.format == format
    rng = np.random.default_rng(0)
    for m in rows:
        x = rng.normal(0, 1, (m, codes.shape[1])).astype(np.float32)
        assert_same_bits(sparse(x), dense(x))
    assert_same_bits(sparse.weight_codes, codes)


def codes_of(name: str, rng: np.random.Generator) -> Array:
    codes = pruned(rng, 48, 200, 0.8)
    if name == "all zero":
        codes[:] = 0
    elif name == "no zeros":
        codes[codes == 0] = 1
    elif name == "rows of zeros":
        codes[[0, 17, 47]] = 0
    elif name == "a full row":
        codes[5] = -127
    elif name == "columns of zeros":
        codes[:, 64:130] = 0
    elif name == "one code":
        codes[:] = 0
        codes[-1, -1] = 127
    elif name == "blocks":
        codes *= np.kron(rng.random((3, 50)) < 0.3, np.ones((16, 4), np.bool_))
    elif name == "2:4":
        codes[:] = 3
        codes[:, ::4] = codes[:, 1::4] = 0
    return codes


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "name",
    [
        *("all zero", "no zeros", "rows of zeros", "a full row", "columns of zeros"),
        *("one code", "2:4", "blocks", "unstructured"),
    ],
)
@pytest.mark.usefixtures("threads")
def test_patterns(rng: np.random.Generator, name: str, format: str) -> None:
    check(codes_of(name, rng), format, rows=(1, 5, 70))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "shape",
    [
        *((0, 0), (0, 5), (3, 0), (1, 1), (5, 1), (17, 3), (15, 64), (16, 65), (33, 63)),
        *((40, 130), (150, 700)),
    ],
    ids=str,
)
def test_shapes(rng: np.random.Generator, shape: tuple[int, int], format: str) -> None:
    check(pruned(rng, *shape, 0.7), format, rows=(0, 1, 2, 33))


@pytest.mark.parametrize("format", FORMATS)
def test_the_widest_layers(rng: np.random.Generator, format: str) -> None:
    codes = np.zeros((18, 65536), np.int8)
    codes[:, rng.choice(65536, 300, replace=False)] = rng.integers(-128, 128, (18, 300))
    codes[0, -1] = codes[17, 0] = 127
    check(codes, format, rows=(1, 2))
    wider = np.pad(codes, ((0, 0), (0, 1)))
    wider[1, -1] = -5
    if format in octavo.tuning.SPARSE_FORMATS:
        with pytest.raises(ValueError, match=rf"^format: '{format}' takes at most 65536 inputs"):
            SparseLinear.from_quantized(wider, 1.0, format=format)
    else:
        check(wider, format, rows=(1, 2))
        assert SparseLinear.from_quantized(wider, 1.0, format=format).format == "dense"


@given(st.data())
def test_any_layer(data: st.DataObject) -> None:
    m, n, k = (data.draw(st.integers(0, 90)) for _ in range(3))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    options = {
        "activation": data.draw(st.sampled_from(ACTIVATIONS)),
        "symmetric": data.draw(st.booleans()),
    }
    codes = pruned(rng, n, k, data.draw(st.floats(0, 1)))
    sparse, dense = pair(codes, data.draw(st.sampled_from(FORMATS)), **options)
    x = (rng.normal(0, 1, (m, k)) * 10.0 ** rng.integers(-30, 30, (m, 1))).astype(np.float32)
    residual = rng.normal(0, 1, (m, n)).astype(np.float32) if data.draw(st.booleans()) else None
    assert_same_bits(sparse(x, residual), dense(x, residual))


@pytest.mark.parametrize("format", FORMATS)
def test_static_scales_and_quantized_input(rng: np.random.Generator, format: str) -> None:
    codes = pruned(rng, 40, 70, 0.8)
    x = rng.normal(0, 1, (9, 70)).astype(np.float32)
    residual = rng.normal(0, 1, (9, 40)).astype(np.float32)
    sparse, dense = pair(codes, format, input_scale=0.02, input_zero_point=-7)
    assert_same_bits(sparse(x, residual), dense(x, residual))
    sparse, dense = pair(codes, format, output_scale=0.05, output_zero_point=11, activation="relu")
    y, wanted = sparse(x, residual), dense(x, residual)
    assert isinstance(y, QTensor)
    assert_same_bits(y.data, wanted.data)
    assert (y.scale, y.zero_point) == (wanted.scale, wanted.zero_point)
    sparse, dense = pair(codes, format)
    rows = QTensor(*octavo.quantize_dynamic(x), axis=0)
    assert_same_bits(sparse(rows), dense(rows))
    assert_same_bits(sparse(rows), sparse(x))
    bad = x.copy()
    bad[2, 3], bad[5, 0] = np.nan, -np.inf
    assert np.isnan(sparse(bad)[[2, 5]]).all()
    assert_same_bits(sparse(bad), dense(bad))
    assert_same_bits(sparse(x[:, ::-1][:, ::-1]), dense(x))


def test_attributes(rng: np.random.Generator) -> None:
    weight = rng.normal(0, 1, (32, 100)).astype(np.float32)
    weight[:, 10:] = 0
    layer = SparseLinear.from_float(weight, np.ones(32), format="windowed64", activation="gelu")
    assert (layer.format, layer.in_features, layer.out_features) == ("windowed64", 100, 32)
    assert layer.sparsity == 1 - np.count_nonzero(layer.weight_codes) / 3200
    assert repr(layer) == (
        "SparseLinear(in_features=100, out_features=32, activation='gelu', sparsity=0.90,"
        " format='windowed64')"
    )
    dense = Linear.from_float(weight, np.ones(32), activation="gelu")
    assert_same_bits(layer.weight, dense.weight)
    assert layer.nbytes < dense.nbytes / 2
    assert layer.config() == {**dense.config(), "format": "windowed64"}
    assert_same_bits(layer.to_sparse().to_dense(), dense.weight)
    assert SparseLinear.from_quantized(np.zeros((0, 4), np.int8), 1.0).sparsity == 1


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.7, 0.9, 1.0])
@pytest.mark.parametrize("shape", [(16, 16), (70, 130), (256, 300), (600, 64)], ids=str)
def test_auto_is_never_larger(rng: np.random.Generator, shape: Any, share: float) -> None:
    auto, dense = pair(pruned(rng, *shape, share), "auto")
    assert auto.nbytes <= dense.nbytes * 1.01
    assert auto.format == octavo.tuning.choose(auto.weight_codes)


WRONG = [
    (ValueError, "format: expected one of auto, dense, windowed16, windowed64", {"format": "coo"}),
    (TypeError, "format: expected a string, got NoneType", {"format": None}),
]


@pytest.mark.parametrize(("error", "message", "options"), WRONG)
def test_wrong_options(error: Any, message: str, options: Any) -> None:
    with pytest.raises(error, match=message):
        SparseLinear.from_float(np.eye(3, dtype=np.float32), **options)
    with pytest.raises(error, match=message):
        SparseLinear.from_quantized(np.eye(3, dtype=np.int8), 1.0, **options)


def test_wrong_parts() -> None:
    with pytest.raises(ValueError, match=r"^weight: expected finite"):
        SparseLinear.from_float(np.full((2, 2), np.nan, np.float32))
