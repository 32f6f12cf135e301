# SPDX-License-Identifier: Apache-2.0
"""quantize_linear and its family: every native tier gives the bits of the NumPy backend.

The backend functions are called directly, so that layouts the checked functions never pass (odd
strides, arrays that end at a page nobody may touch) are covered too.
"""

from __future__ import annotations

import numpy as np
import pytest

from grids import slow
from guard import guarded
from isa_tiers import native_tiers
from native import SIZES, codes, floats, same
from octavo import _backend, _numpy
from reference import assert_same_bits

pytestmark = pytest.mark.parametrize("isa", native_tiers(), indirect=True)

CODES = ["int8", "uint8", "int16", "uint16"]

# (outer, channels, inner, block_size): one parameter; per channel; blocks, also with a short last
# one, longer than the axis, and of a single element.
LAYOUTS = [
    *((1, 1, size, 0) for size in SIZES),
    *((3, channels, 1, 0) for channels in (1, 2, 16, 17, 40)),
    *((2, 3, inner, 0) for inner in (1, 9, 16, 33)),
    *((2, channels, 1, block) for channels in (32, 33, 40, 5) for block in (1, 16, 8, 64)),
    *(
        (2, channels, inner, block)
        for channels in (1, 4, 5)
        for inner in (3, 17)
        for block in (1, 2)
    ),
    (0, 4, 4, 0),
    (2, 0, 4, 2),
]


def parameter_count(outer: int, channels: int, inner: int, block: int) -> int:
    """How many scales a layout has."""
    return outer * -(-channels // block) * inner if block else channels


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_quantize_linear(
    isa: str, rng: np.random.Generator, layout: tuple[int, ...], dtype: str
) -> None:
    size, count = layout[0] * layout[1] * layout[2], parameter_count(*layout)
    for out in CODES:
        x = floats(rng, size, dtype)
        scale = (10.0 ** rng.uniform(-3, 2, count)).astype(dtype)
        for zero_point in (None, codes(rng, count, out)):
            same("quantize_linear", (x, scale, zero_point, *layout), size, out)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_dequantize_linear(
    isa: str, rng: np.random.Generator, layout: tuple[int, ...], dtype: str
) -> None:
    size, count = layout[0] * layout[1] * layout[2], parameter_count(*layout)
    for kind in (*CODES, "int32"):
        q = codes(rng, size, kind)
        scale = floats(rng, count, dtype)
        for zero_point in (None, codes(rng, count, kind)):
            same("dequantize_linear", (q, scale, zero_point, *layout), size, dtype)


def test_every_half_quotient_and_product(isa: str, rng: np.random.Generator) -> None:
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    for value in (1.0, 3.0, 0.1, 6e-8, 65504.0):
        scale = np.array([value], np.float16)
        for out in CODES:
            same("quantize_linear", (x, scale, None, 1, 1, x.size, 0), x.size, out)
        q = np.arange(1 << 16, dtype=np.uint16)
        same("dequantize_linear", (q, scale, None, 1, 1, q.size, 0), q.size, "float16")


def test_ties_and_saturation(isa: str) -> None:
    x = np.concatenate([np.arange(-300, 300, 0.5), np.arange(-70000, 70000, 7.5)]).astype("f")
    scale = np.ones(1, np.float32)
    for out in CODES:
        limits = np.iinfo(out)
        for point in (limits.min, 0, 1, limits.max):
            zero_point = np.array([point], out)
            same("quantize_linear", (x, scale, zero_point, 1, 1, x.size, 0), x.size, out)


def test_quotients_next_to_ties(isa: str, rng: np.random.Generator) -> None:
    # A few units in the last place around every half, where a reciprocal alone would go wrong.
    for _ in range(40):
        scale = (10.0 ** rng.uniform(-30, 29, 1)).astype(np.float32)
        x = (rng.integers(-1400, 1400, 4096) * 0.5 * scale).astype(np.float32)
        x = (x.view(np.int32) + rng.integers(-4, 5, x.size, np.int32)).view(np.float32)
        for out in ("int8", "uint8"):
            inputs = (x, scale, codes(rng, 1, out), 1, 1, x.size, 0)
            same("quantize_linear", inputs, x.size, out)


@pytest.mark.parametrize(
    "layout", [(1, 1, 500_001, 0), (700, 301, 1, 0), (1, 3, 100_001, 0)], ids=str
)
def test_large_arrays(
    isa: str, threads: int, rng: np.random.Generator, layout: tuple[int, ...]
) -> None:
    size, count = layout[0] * layout[1] * layout[2], parameter_count(*layout)
    scale = rng.uniform(0.1, 1, count).astype(np.float32)
    zero_point = codes(rng, count, "uint8")
    x = floats(rng, size)
    same("quantize_linear", (x, scale, zero_point, *layout), size, "uint8")
    same("dequantize_linear", (zero_point[:1].repeat(size), scale, None, *layout), size, "float32")


@pytest.mark.parametrize("offset", [0, *slow(1), 3])
def test_streamed_outputs(isa: str, threads: int, rng: np.random.Generator, offset: int) -> None:
    # Large enough for stores past the caches, from any alignment on.
    size = (8 << 20) + 100
    x = rng.normal(0, 30, size // 4).astype(np.float32).repeat(4)[:size]
    scale, zero_point = np.array([0.25], np.float32), np.array([7], np.int8)
    layout = (1, 1, size, 0)
    expected, actual = np.empty(size, np.int8), np.zeros(size + 4, np.int8)
    _numpy.quantize_linear(x, scale, zero_point, *layout, expected)
    _backend.backend.quantize_linear(x, scale, zero_point, *layout, actual[offset : offset + size])
    np.testing.assert_array_equal(actual[offset : offset + size], expected)
    assert not actual[:offset].any()
    assert not actual[offset + size :].any()
    back, again = np.empty(size, np.float32), np.zeros(size + 4, np.float32)
    _numpy.dequantize_linear(expected, scale, zero_point, *layout, back)
    _backend.backend.dequantize_linear(
        expected, scale, zero_point, *layout, again[offset : offset + size]
    )
    assert_same_bits(again[offset : offset + size], back)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("k", SIZES)
def test_quantize_dynamic(
    isa: str, threads: int, rng: np.random.Generator, k: int, symmetric: bool
) -> None:
    for m in (0, 1, 7, 300):
        x = floats(rng, (m, k), special=False)
        x[::3] = floats(rng, (m, k))[::3]
        for rows in (guarded(x), guarded(x, front=True), x[::-1], np.broadcast_to(x[:1], (m, k))):
            actual = _backend.backend.quantize_dynamic(rows, symmetric)
            for got, wanted in zip(actual, _numpy.quantize_dynamic(rows, symmetric), strict=True):
                assert_same_bits(got, wanted)


def test_embedding(isa: str, threads: int, rng: np.random.Generator) -> None:
    for d in (1, 16, 17, 384):
        table, scale = codes(rng, (50, d), "int8"), floats(rng, 50, special=False)
        for count in (0, 1, 300):
            ids = rng.integers(0, 50, count)
            same("embedding", (table, scale, ids), (count, d), "float32")
