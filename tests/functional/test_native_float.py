# SPDX-License-Identifier: Apache-2.0
"""Float32 layers: every native tier gives the bits of the NumPy backend.

The backend functions are called directly, so that layouts the checked functions never pass (odd
strides, arrays that end at a page nobody may touch) are covered too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from grids import slow
from isa_tiers import native_tiers
from native import SIZES, floats, same
from octavo import _backend, _numpy
from reference import assert_same_bits

pytestmark = pytest.mark.parametrize("isa", native_tiers(), indirect=True)

ACTIVATIONS = ["none", "relu", "gelu", "gelu_tanh", "silu", "tanh"]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(isa: str, threads: int, rng: np.random.Generator, name: str) -> None:
    for size in (*SIZES, 50_001):
        same("activation", (floats(rng, size), name), size, "float32")
    x = np.linspace(-100, 100, 40_001).astype(np.float32)
    same("activation", (x, name), x.size, "float32")
    expected = np.empty_like(x)
    _numpy.activation(x, name, expected)
    _backend.backend.activation(x, name, x)
    assert_same_bits(x, expected)


@pytest.mark.parametrize("n", SIZES)
def test_layer_norm(isa: str, threads: int, rng: np.random.Generator, n: int) -> None:
    weight, bias = (floats(rng, n, special=False) for _ in range(2))
    for m in (0, 1, 3, 4, 9, 200):
        x, residual = (floats(rng, (m, n), special=False) for _ in range(2))
        x[::4] = floats(rng, (m, n))[::4]
        for w, b, r in ((weight, bias, residual), (weight, None, None), (None, bias, x)):
            same("layer_norm", (x, w, b, 1e-12, r), (m, n), "float32")


@pytest.mark.parametrize("n", SIZES)
def test_rms_norm(isa: str, threads: int, rng: np.random.Generator, n: int) -> None:
    weight = floats(rng, n, special=False)
    for m in (0, 1, 3, 4, 9, 200):
        x, addend = (floats(rng, (m, n), special=False) for _ in range(2))
        x[::4] = floats(rng, (m, n))[::4]
        for w, a in ((weight, addend), (weight, None), (None, x)):
            same("rms_norm", (x, w, 1e-6, a), (m, n), "float32")


@pytest.mark.parametrize("pairs", [0, 1, 16, *slow(17, 32), 37])
def test_rotary(isa: str, threads: int, rng: np.random.Generator, pairs: int) -> None:
    cosine, sine = (floats(rng, (30, pairs), special=False) for _ in range(2))
    for m, heads, rest in ((0, 1, 1), (1, 3, 0), (7, 2, 5), (200, 3, 0)):
        x = floats(rng, (m, heads * max(1, 2 * pairs + rest)))
        positions = rng.integers(0, 30, m)
        same("rotary", (x, cosine, sine, positions, heads), x.shape, "float32")


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gated(isa: str, threads: int, rng: np.random.Generator, name: str) -> None:
    for shape in ((0, 3), (1, 1), (3, 16), (5, 37), (90, 200)):
        same("gated", (floats(rng, shape), floats(rng, shape), name), shape, "float32")


@pytest.mark.parametrize("n", SIZES)
def test_softmax(isa: str, threads: int, rng: np.random.Generator, n: int) -> None:
    for m in (0, 1, 5, 200):
        x = floats(rng, (m, n), special=False)
        x[::2] = floats(rng, (m, n))[::2]
        x[1::4] = -np.inf
        same("softmax", (x,), (m, n), "float32")


@pytest.mark.parametrize("bits", [0xFFC00000, 0x7FC12345, 0xFFD00001, 0x7FA00000], ids=hex)
def test_nan_of_any_sign_and_payload(isa: str, rng: np.random.Generator, bits: int) -> None:
    plain, x = rng.normal(0, 1, (2, 3, 48)).astype(np.float32)
    plain[1, [5, 47]] = np.nan
    x[...] = plain
    x.view(np.uint32)[1, [5, 47]] = bits
    for name in ACTIVATIONS:
        same("activation", (x.reshape(-1), name), x.size, "float32")
    same("softmax", (x,), x.shape, "float32")
    same("layer_norm", (x, x[1], x[1], 1e-5, x), x.shape, "float32")
    same("attention", (x[None],) * 3 + (None, None, None, 2, 0.3), (1, *x.shape), "float32")
    # What is stored, and what is an integer, does not depend on which NaN it was.
    for ours, expected in zip(
        _backend.backend.quantize_dynamic(x, False),
        _numpy.quantize_dynamic(plain, False),
        strict=True,
    ):
        assert ours.tobytes() == expected.tobytes()
    one, layout = np.ones(1, np.float32), (1, 1, x.size, 0)
    for values in (x, plain):
        same("quantize_linear", (values.reshape(-1), one, None, *layout), x.size, "int8")


def test_rows_at_any_stride(isa: str, rng: np.random.Generator) -> None:
    x = floats(rng, (40, 90), special=False)
    for rows in (x[::-2, 5:50], np.broadcast_to(x[3], (6, 90)), x[:, :1]):
        for function, middle in (("softmax", ()), ("layer_norm", (None, None, 1e-5, rows))):
            expected, actual = (np.empty(rows.shape, np.float32) for _ in range(2))
            getattr(_numpy, function)(rows, *middle, expected)
            getattr(_backend.backend, function)(rows, *middle, actual)
            assert_same_bits(actual, expected)


@pytest.mark.parametrize("d", [1, *slow(8, 15), 16, 17, *slow(32), 40, *slow(64)])
@pytest.mark.parametrize("keys", [0, 1, 5, *slow(16), 17, *slow(50), 128])
def test_attention(isa: str, threads: int, rng: np.random.Generator, keys: int, d: int) -> None:
    for batch, queries, heads in ((1, 1, 1), (2, 7, 3), (1, 100, 2), (0, 3, 2)):
        width = heads * d
        q, k, v = (
            rng.normal(0, 1, (batch, n, width)).astype(np.float32) for n in (queries, keys, keys)
        )
        mask = rng.random((batch, keys)) < 0.7
        mask[1:, :] &= rng.random() < 0.5
        bias = rng.normal(0, 1, (rng.choice([1, heads]), queries, keys)).astype(np.float32)
        for valid in (None, mask):
            for added in (None, bias):
                same("attention", (q, k, v, valid, added, None, heads, 0.125), q.shape, "float32")


def test_attention_of_more_rows_than_go_without_a_question(
    isa: str, rng: np.random.Generator
) -> None:
    q, k = (rng.normal(0, 1, (1, n, 64)).astype(np.float32) for n in (150, 600))
    mask, bias = rng.random((1, 600)) < 0.95, rng.normal(0, 1, (1, 150, 600)).astype(np.float32)
    same("attention", (q, k, k, mask, bias, None, 1, 0.125), q.shape, "float32")


def test_attention_without_queries(isa: str) -> None:
    none, keys = np.empty((2, 0, 8), np.float32), np.ones((2, 3, 8), np.float32)
    _backend.backend.attention(none, keys, keys, None, None, None, 2, 1.0, none)


def test_attention_with_values_that_are_not_finite(isa: str, rng: np.random.Generator) -> None:
    for _ in range(5):
        q, k, v = (floats(rng, (1, 20, 32), special=False) for _ in range(3))
        for x in (q, k, v):
            x[0, 3] = floats(rng, 32)
        same("attention", (q, k, v, None, None, None, 2, 0.3), q.shape, "float32")


def test_attention_reads_strided_views(isa: str, threads: int, rng: np.random.Generator) -> None:
    fused = rng.normal(0, 1, (3, 30, 3 * 64)).astype(np.float32)
    q, k, v = fused[::2, ::-1, :64], fused[::2, :, 64:128], fused[::-2, :, 128:]
    expected, actual = (np.empty(q.shape, np.float32) for _ in range(2))
    _numpy.attention(q, k, v, None, None, None, 4, 0.25, expected)
    _backend.backend.attention(q, k, v, None, None, None, 4, 0.25, actual)
    assert_same_bits(actual, expected)


def test_direct_calls_are_checked(isa: str) -> None:
    x, one = np.zeros(4, np.float32), np.ones(1, np.float32)
    out = np.zeros(4, np.int8)
    bad_calls: list[tuple[str, tuple[Any, ...]]] = [
        ("quantize_linear", (x, one, None, 1, 1, 5, 0, out)),
        ("quantize_linear", (x, np.ones(2, np.float32), None, 1, 1, 4, 0, out)),
        ("quantize_linear", (x, one.astype(np.float16), None, 1, 1, 4, 0, out)),
        ("quantize_linear", (x, one, np.zeros(1, np.uint8), 1, 1, 4, 0, out)),
        ("quantize_linear", (x, one, None, 1, 1, 4, 0, out.astype(np.int32))),
        ("dequantize_linear", (out, one, None, 1, 1, 4, 0, x[::2])),
        ("activation", (x, "sine", x)),
        ("softmax", (x.reshape(2, 2), x)),
        ("embedding", (out.reshape(2, 2), np.ones(2, np.float32), np.array([2]), x.reshape(2, 2))),
        ("attention", (x.reshape(1, 2, 2),) * 3 + (None, None, None, 3, 1.0, x.reshape(1, 2, 2))),
        ("attention", (x.reshape(1, 2, 2),) * 3 + (None, x.reshape(2, 1, 2), None, 2, 1.0, x)),
    ]
    for function, arguments in bad_calls:
        with pytest.raises(ValueError, match=r"expected|unknown"):
            getattr(_backend.backend, function)(*arguments)
