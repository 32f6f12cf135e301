# SPDX-License-Identifier: Apache-2.0
"""octavo.Linear: the exact result of every tier, thread count, layout and copy."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import octavo
import reference
from octavo import Linear, _backend
from octavo.qtensor import QTensor
from reference import assert_same_bits

pytestmark = pytest.mark.usefixtures("isa")

ACTIVATIONS = ("none", "relu", "gelu", "gelu_tanh", "silu", "tanh")
# (M, N, K) around the tiles of all kernels.
SIZES = [
    (1, 1, 1),
    (1, 64, 64),
    (1, 17, 33),
    (1, 385, 130),
    (2, 5, 3),
    (3, 16, 16),
    (5, 15, 31),
    (6, 33, 63),
    (7, 48, 65),
    (8, 49, 64),
    (17, 31, 127),
    (33, 65, 129),
    (3, 7, 1030),
    (1, 0, 5),
    (0, 3, 5),
    (3, 4, 0),
    (0, 0, 0),
]


def make(rng: np.random.Generator, n: int, k: int, bias: bool = True, **options: Any) -> Linear:
    weight = rng.normal(0, 0.5, (n, k)).astype(np.float32)
    return Linear.from_float(weight, rng.normal(0, 1, n) if bias else None, **options)


def expected(layer: Linear, x: Any, residual: Any = None, symmetric: bool = False) -> Any:
    """The layer's result on a matrix, by the reference."""
    rows = reference.quantize_dynamic(x, symmetric)
    parts = (layer.weight_codes, layer.weight_scale, layer.bias)
    return reference.linear(*rows, *parts, layer.activation, residual)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("symmetric", [False, True])
def test_is_the_reference(rng: np.random.Generator, size: Any, symmetric: bool) -> None:
    m, n, k = size
    x = rng.normal(0.2, 1, (m, k)).astype(np.float32)
    residual = rng.normal(0, 1, (m, n)).astype(np.float32)
    activation = ACTIVATIONS[SIZES.index(size) % len(ACTIVATIONS)]
    for bias in (False, True):
        layer = make(rng, n, k, bias, symmetric=symmetric, activation=activation)
        assert_same_bits(layer(x), expected(layer, x, None, symmetric))
        assert_same_bits(layer(x, residual), expected(layer, x, residual, symmetric))


def test_extreme_codes(rng: np.random.Generator) -> None:
    # The largest sums of products that int8 codes can give, to provoke a saturating kernel.
    for k in (2, 64, 515):
        codes = np.where(rng.random((40, k)) < 0.5, -127, 127).astype(np.int8)
        codes[0], codes[1] = 127, -127
        layer = Linear.from_quantized(codes, np.ones(40, np.float32))
        x = np.where(rng.random((9, k)) < 0.5, -1.0, 1.0).astype(np.float32)
        x[0], x[1], x[2] = 1, -1, 0
        assert_same_bits(layer(x), expected(layer, x))
        x = np.abs(x)
        assert_same_bits(layer(x), expected(layer, x))


def test_the_bound_on_k() -> None:
    bound = 65793
    codes = np.full((2, bound), 127, np.int8)
    codes[1] = -128
    layer = Linear.from_quantized(codes, np.ones(2, np.float32))
    x = np.full((1, bound), 3.0, np.float32)
    assert_same_bits(layer(x), expected(layer, x))
    with pytest.raises(ValueError, match=f"K = {bound + 1} is over {bound}"):
        Linear.from_quantized(np.zeros((1, bound + 1), np.int8), 1.0)
    with pytest.raises(ValueError, match=f"K = {bound + 1} is over {bound}"):
        Linear.from_float(np.zeros((1, bound + 1), np.float32))


def test_any_leading_shape_and_layout(rng: np.random.Generator) -> None:
    layer = make(rng, 21, 40)
    x = rng.normal(0, 1, (2, 3, 4, 40)).astype(np.float32)
    flat = expected(layer, x.reshape(24, 40))
    assert_same_bits(layer(x), flat.reshape(2, 3, 4, 21))
    assert_same_bits(layer(x, residual=np.zeros((2, 3, 4, 21), ">f4")), layer(x) + np.float32(0))
    wide = rng.normal(0, 1, (10, 120)).astype(np.float32)
    read_only = wide[:, :40].copy()
    read_only.flags.writeable = False
    for view in (
        wide[:, 40:80],
        wide[::3, :40],
        wide[::-1, :40],
        wide[:, ::3],
        np.asfortranarray(wide[:, :40]),
        wide[:, :40].astype(">f4"),
        wide[:, :40].astype(np.float16),
        np.broadcast_to(wide[0, :40], (5, 40)),
        read_only,
        np.frombuffer(b"\0" + read_only.tobytes(), np.float32, offset=1).reshape(10, 40),
    ):
        same = np.array(view, np.float32)
        assert_same_bits(layer(view), expected(layer, same))
        residual = rng.normal(0, 1, (21, len(same))).astype(np.float32).T
        assert_same_bits(layer(view, residual), expected(layer, same, residual))
    assert_same_bits(layer(wide[:, :40].tolist()), layer(wide[:, :40]))
    assert_same_bits(layer(memoryview(read_only)), layer(read_only))


def test_non_finite_rows_give_nan(rng: np.random.Generator) -> None:
    for activation in ACTIVATIONS:
        layer = make(rng, 9, 20, activation=activation)
        x = rng.normal(0, 1, (5, 20)).astype(np.float32)
        clean = layer(x)
        x[1, 3], x[2, 19], x[4, 0] = np.nan, np.inf, -np.inf
        y = layer(x)
        assert np.isnan(y[[1, 2, 4]]).all()
        assert_same_bits(y[[0, 3]], clean[[0, 3]])


def test_large_shapes_agree_with_the_fallback(rng: np.random.Generator) -> None:
    for m, n, k in ((130, 400, 1540), (1, 1540, 2050), (300, 97, 200)):
        weight = rng.normal(0, 1, (n, k)).astype(np.float32)
        x = rng.normal(0, 1, (m, k)).astype(np.float32)
        y = Linear.from_float(weight, activation="silu")(x)
        with _backend.use("numpy"):
            assert_same_bits(y, Linear.from_float(weight, activation="silu")(x))


def test_static_input(rng: np.random.Generator) -> None:
    layer = make(rng, 30, 50, input_scale=0.02, input_zero_point=-7)
    x = rng.normal(0, 1, (6, 50)).astype(np.float32)
    x[0, 0], x[1, 1], x[2, 2] = np.inf, -np.inf, np.nan
    codes = octavo.quantize_linear(x, 0.02, -7)
    scales = np.full(6, 0.02, np.float32)
    points = np.full(6, -7)
    parts = (layer.weight_codes, layer.weight_scale, layer.bias)
    assert_same_bits(layer(x), reference.linear(codes, scales, points, *parts))
    assert_same_bits(layer(x[:, ::-1][:, ::-1]), layer(x))


def test_static_output(rng: np.random.Generator) -> None:
    for activation in ("none", "gelu"):
        plain = make(np.random.default_rng(1), 30, 50, activation=activation)
        options = {"output_scale": 0.05, "output_zero_point": 11, "activation": activation}
        layer = make(np.random.default_rng(1), 30, 50, **options)
        x = rng.normal(0, 1, (2, 3, 50)).astype(np.float32)
        residual = rng.normal(0, 1, (2, 3, 30)).astype(np.float32)
        for extra in (None, residual):
            for view in (x, x.astype(np.float16).astype(np.float32), x[:, :, ::-1]):
                y = layer(view, extra)
                assert isinstance(y, QTensor)
                assert_same_bits(y.data, octavo.quantize_linear(plain(view, extra), 0.05, 11))
                assert y.scale == np.float32(0.05)
                assert y.zero_point == 11


def test_chain_of_static_layers(rng: np.random.Generator) -> None:
    first = make(rng, 40, 20, activation="relu", output_scale=0.03, output_zero_point=-128)
    second = make(rng, 10, 40)
    hidden = first(rng.normal(0, 1, (4, 20)).astype(np.float32))
    parts = (second.weight_codes, second.weight_scale, second.bias)
    scales, points = np.full(4, 0.03, np.float32), np.full(4, -128)
    wanted = reference.linear(hidden.data, scales, points, *parts)
    assert_same_bits(second(hidden), wanted)


def test_quantized_rows(rng: np.random.Generator) -> None:
    layer = make(rng, 13, 24)
    x = rng.normal(0, 1, (2, 5, 24)).astype(np.float32)
    codes, scales, points = octavo.quantize_dynamic(x)
    rows = QTensor(codes, scales[..., None], points[..., None], axis=-1, block_size=24)
    residual = rng.normal(0, 1, (2, 5, 13)).astype(np.float32)
    assert_same_bits(layer(rows), layer(x))
    assert_same_bits(layer(rows, residual), layer(x, residual))
    matrix = QTensor(codes[0], scales[0], points[0], axis=0)
    assert_same_bits(layer(matrix), layer(x[0]))
    vector = QTensor(codes[0, 0], scales[0, 0], points[0, 0])
    assert_same_bits(layer(vector), layer(x[0, 0]))
    lowest = QTensor(np.full((1, 24), -128, np.int8), 0.5, 127)
    parts = (layer.weight_codes, layer.weight_scale, layer.bias)
    wanted = reference.linear(lowest.data, np.float32([0.5]), np.array([127]), *parts)
    assert_same_bits(layer(lowest), wanted)


def test_attributes(rng: np.random.Generator) -> None:
    weight = rng.normal(0, 1, (12, 30)).astype(np.float32)
    weight[3] = 0
    weight[4] = 1e-42
    layer = Linear.from_float(weight, np.ones(12))
    assert repr(layer) == "Linear(in_features=30, out_features=12)"
    q = octavo.quantize(weight, axis=0)
    assert_same_bits(layer.weight_codes, q.data)
    assert_same_bits(layer.weight_scale, q.scale)
    assert_same_bits(layer.weight, q.dequantize())
    assert layer.weight_scale[3] == 1
    for array in (layer.weight_scale, layer.bias):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 2


def test_the_layer_keeps_nothing_of_its_arguments(rng: np.random.Generator) -> None:
    codes = rng.integers(-128, 128, (8, 16)).astype(np.int8)
    scale, bias = np.ones(8, np.float32), np.ones(8, np.float32)
    layer = Linear.from_quantized(codes, scale, bias)
    x = rng.normal(0, 1, (2, 16)).astype(np.float32)
    before = layer(x)
    codes[:], scale[:], bias[:] = 0, 2, 3
    assert_same_bits(layer(x), before)
    layer.weight_codes[:] = 0
    assert_same_bits(layer(x), before)


STATIC = {
    "input_scale": 0.02,
    "input_zero_point": 3,
    "output_scale": 0.1,
    "output_zero_point": -4,
}


def test_state_dict_is_in_the_compressed_tensors_convention(rng: np.random.Generator) -> None:
    layer = make(rng, 19, 35, **STATIC)
    state = layer.state_dict()
    kinds = {key: (value.dtype.name, value.shape) for key, value in state.items()}
    assert kinds == {
        "weight": ("int8", (19, 35)),
        "weight_scale": ("float32", (19, 1)),
        "bias": ("float32", (19,)),
        "input_scale": ("float32", (1,)),
        "input_zero_point": ("int8", (1,)),
        "output_scale": ("float32", (1,)),
        "output_zero_point": ("int8", (1,)),
    }
    assert set(make(rng, 2, 3, False).state_dict()) == {"weight", "weight_scale"}
    x = rng.normal(0, 1, (3, 35)).astype(np.float32)
    for again in (
        Linear.from_state_dict(state, **layer.config()),
        pickle.loads(pickle.dumps(layer)),
        copy.deepcopy(layer),
    ):
        assert_same_bits(again(x).data, layer(x).data)
        assert (repr(again), again.config()) == (repr(layer), layer.config())


def test_layers_are_freed_at_once(rng: np.random.Generator) -> None:
    gc.disable()
    try:
        for options in ({}, STATIC):
            layer = make(rng, 8, 8, **options)
            layer(np.ones((1, 8), np.float32))
            gone = weakref.ref(layer)
            del layer
            assert gone() is None
    finally:
        gc.enable()


@given(st.data())
def test_any_layer(data: Any) -> None:
    m, n, k = (data.draw(st.integers(0, 70)) for _ in range(3))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    symmetric = data.draw(st.booleans())
    options = {"activation": data.draw(st.sampled_from(ACTIVATIONS)), "symmetric": symmetric}
    layer = make(rng, n, k, data.draw(st.booleans()), **options)
    x = (rng.normal(0, 1, (m, k)) * 10.0 ** rng.integers(-40, 38, (m, 1))).astype(np.float32)
    residual = rng.normal(0, 1, (m, n)).astype(np.float32) if data.draw(st.booleans()) else None
    assert_same_bits(layer(x, residual), expected(layer, x, residual, symmetric))
