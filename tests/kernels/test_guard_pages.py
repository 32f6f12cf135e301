# SPDX-License-Identifier: Apache-2.0
"""Backend functions on memory that ends, or begins, at an inaccessible page."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from guard import guarded, guarded_empty
from octavo import _backend, _numpy
from reference import assert_same_bits

pytestmark = pytest.mark.usefixtures("isa")

WIDTHS = [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 130]
fronts = pytest.mark.parametrize("front", [False, True])
widths = pytest.mark.parametrize("width", WIDTHS)


@fronts
@widths
@pytest.mark.parametrize("codes", ["int8", "uint8", "int16", "uint16"])
@pytest.mark.parametrize("floats", ["float32", "float16"])
def test_quantize(
    rng: np.random.Generator, front: bool, width: int, codes: str, floats: str
) -> None:
    x = guarded(rng.normal(0, 20, width).astype(floats), front=front)
    scale = guarded(np.array([0.5], floats), front=front)
    point = guarded(np.array([3], codes), front=front)
    out, wanted = guarded_empty((width,), codes, front=front), np.empty(width, codes)
    _backend.backend.quantize_linear(x, scale, point, 1, 1, width, 0, out)
    _numpy.quantize_linear(x, scale, point, 1, 1, width, 0, wanted)
    assert_same_bits(out, wanted)
    back, again = guarded_empty((width,), floats, front=front), np.empty(width, floats)
    _backend.backend.dequantize_linear(out, scale, point, 1, 1, width, 0, back)
    _numpy.dequantize_linear(out, scale, point, 1, 1, width, 0, again)
    assert_same_bits(back, again)


@fronts
@widths
@pytest.mark.parametrize("block", [0, 4])
def test_quantize_channels(rng: np.random.Generator, front: bool, width: int, block: int) -> None:
    for outer, channels, inner in ((1, width, 3), (2, width, 1), (3, 2, width)):
        shape = (outer, channels, inner)
        groups = outer * -(-channels // block) * inner if block else channels
        x = guarded(rng.normal(0, 20, shape).astype(np.float32), front=front)
        scale = guarded(rng.uniform(0.1, 1, groups).astype(np.float32), front=front)
        out, wanted = guarded_empty(shape, "int8", front=front), np.empty(shape, np.int8)
        _backend.backend.quantize_linear(x, scale, None, *shape, block, out)
        _numpy.quantize_linear(x, scale, None, *shape, block, wanted)
        assert_same_bits(out, wanted)


@fronts
@widths
def test_rows(rng: np.random.Generator, front: bool, width: int) -> None:
    backend: Any = _backend.backend
    x = guarded(rng.normal(0, 1, (3, width)).astype(np.float32), front=front)
    for symmetric in (False, True):
        rows = zip(
            backend.quantize_dynamic(x, symmetric),
            _numpy.quantize_dynamic(x, symmetric),
            strict=True,
        )
        for actual, wanted in rows:
            assert_same_bits(actual, wanted)
    weight = guarded(rng.normal(1, 1, width).astype(np.float32), front=front)
    out, again = guarded_empty(x.shape, "float32", front=front), np.empty_like(x)
    backend.layer_norm(x, weight, weight, 1e-5, x, out)
    _numpy.layer_norm(x, weight, weight, 1e-5, x, again)
    assert_same_bits(out, again)
    backend.softmax(x, out)
    _numpy.softmax(x, again)
    assert_same_bits(out, again)
    for name in ("none", "relu", "gelu", "gelu_tanh", "silu", "tanh"):
        backend.activation(x.reshape(-1), name, out.reshape(-1))
        _numpy.activation(x.reshape(-1), name, again.reshape(-1))
        assert_same_bits(out, again)


@fronts
@widths
def test_matrices(rng: np.random.Generator, front: bool, width: int) -> None:
    backend: Any = _backend.backend
    for m, n, k in ((1, 5, width), (3, width, 7), (width, 3, 18)):
        a = guarded(rng.integers(-128, 128, (1, m, k)).astype(np.int8), front=front)
        b = guarded(rng.integers(0, 256, (1, k, n)).astype(np.uint8), front=front)
        point = guarded(rng.integers(-9, 9, m).astype(np.int32), front=front)
        out, wanted = guarded_empty((1, m, n), "int32", front=front), np.empty((1, m, n), np.int32)
        backend.matmul_int8(a, b, point, None, out)
        _numpy.matmul_int8(a, b, point, None, wanted)
        assert_same_bits(out, wanted)
        codes = guarded(rng.integers(-127, 128, (n, k)).astype(np.int8), front=front)
        scale = guarded(rng.uniform(0.1, 1, n).astype(np.float32), front=front)
        x = guarded(rng.normal(0, 1, (m, k)).astype(np.float32), front=front)
        residual = guarded(rng.normal(0, 1, (m, n)).astype(np.float32), front=front)
        multiplier = guarded(rng.uniform(0, 2, k).astype(np.float32), front=front)
        options = (scale, "gelu", False, None, 0, None, 0, "dense", multiplier)
        layer = backend.PackedLinear(codes, scale, *options)
        twin = _numpy.PackedLinear(codes, scale, *options)
        assert_same_bits(layer.run(x, residual), twin.run(x, residual))
        assert_same_bits(layer.unpack(), codes)


@fronts
@pytest.mark.parametrize("width", [1, 4, 8, 17, 32])
def test_attention_and_embedding(rng: np.random.Generator, front: bool, width: int) -> None:
    backend: Any = _backend.backend
    q, k, v = (
        guarded(rng.normal(0, 1, (2, t, 2 * width)).astype(np.float32), front=front)
        for t in (3, 5, 5)
    )
    mask = guarded(rng.random((2, 5)) < 0.6, front=front)
    out, wanted = guarded_empty(q.shape, "float32", front=front), np.empty_like(q)
    backend.attention(q, k, v, mask, 2, 0.5, out)
    _numpy.attention(q, k, v, mask, 2, 0.5, wanted)
    assert_same_bits(out, wanted)
    codes = guarded(rng.integers(-127, 128, (6, width)).astype(np.int8), front=front)
    scale = guarded(rng.uniform(0.1, 1, 6).astype(np.float32), front=front)
    ids = guarded(np.array([5, 0, 5], np.int64), front=front)
    rows, again = (
        guarded_empty((3, width), "float32", front=front),
        np.empty((3, width), np.float32),
    )
    backend.embedding(codes, scale, ids, rows)
    _numpy.embedding(codes, scale, ids, again)
    assert_same_bits(rows, again)
