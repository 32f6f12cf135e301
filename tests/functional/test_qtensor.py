# SPDX-License-Identifier: Apache-2.0
"""QTensor and quantize: scales from the data, and what the codes mean."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import octavo
from octavo.qtensor import QTensor
from reference import assert_same_bits
from refusals import refusals

pytestmark = pytest.mark.usefixtures("isa")

CODES = ("int8", "uint8", "int16", "uint16")
GROUPS: list[Any] = [(None, None), (0, None), (1, None), (-1, None), (1, 4), (0, 2), (-1, 33)]


@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_error_is_at_most_a_step(
    rng: np.random.Generator, codes: str, symmetric: bool, group: Any
) -> None:
    axis, block = group
    x = rng.normal(0.5, 1, (6, 33)).astype(np.float32)
    q = octavo.quantize(x, axis, codes, symmetric, block)
    assert q.dtype == codes
    assert q.shape == x.shape
    assert q.ndim == 2
    assert q.zero_point.shape == q.scale.shape
    assert q.axis == (None if axis is None else axis % 2)
    assert q.block_size == block
    assert q.nbytes == q.data.nbytes + q.scale.nbytes + q.zero_point.nbytes
    values = q.dequantize()
    assert values.dtype == np.float32
    assert np.abs(values - x).max() <= q.scale.max() * 1.01
    half = 0.5 if symmetric else 1.0
    assert np.abs(values - x).max() <= q.scale.max() * (half + 0.01)


def test_symmetric_codes_are_symmetric() -> None:
    x = np.float32([-2, -1, 0, 1, 2])
    assert octavo.quantize(x).data.tolist() == [-127, -64, 0, 64, 127]
    assert octavo.quantize(x, dtype="uint8").data.tolist() == [1, 64, 128, 192, 255]
    assert octavo.quantize(x, dtype="int16").data.tolist() == [-32767, -16384, 0, 16384, 32767]
    assert octavo.quantize(x).zero_point == 0
    assert octavo.quantize(x, dtype="uint8").zero_point == 128
    assert octavo.quantize(x, dtype="uint16").zero_point == 32768


def test_asymmetric_codes_use_the_whole_range() -> None:
    x = np.float32([-1, 0, 3])
    q = octavo.quantize(x, symmetric=False)
    assert q.data.tolist() == [-128, -64, 127]
    assert q.zero_point == -64
    assert octavo.quantize(x, dtype="uint8", symmetric=False).data.tolist() == [0, 64, 255]
    positive = octavo.quantize(np.float32([1, 3]), symmetric=False)
    assert positive.zero_point == -128


def test_one_scale_per_block_row_or_channel(rng: np.random.Generator) -> None:
    x = rng.normal(0, 1, (4, 10)).astype(np.float32)
    rows = octavo.quantize(x, axis=0)
    assert_same_bits(rows.scale, np.abs(x).max(1) / np.float32(127))
    columns = octavo.quantize(x, axis=1)
    assert_same_bits(columns.scale, np.abs(x).max(0) / np.float32(127))
    blocks = octavo.quantize(x, axis=1, block_size=4)
    tops = [np.abs(x[:, i : i + 4]).max(1) for i in (0, 4, 8)]
    assert_same_bits(blocks.scale, np.stack(tops, 1) / np.float32(127))
    whole = octavo.quantize(x, axis=-1, block_size=10)
    assert_same_bits(whole.data, rows.data)
    assert_same_bits(whole.scale[:, 0], rows.scale)


@pytest.mark.parametrize("symmetric", [True, False])
def test_extreme_ranges(symmetric: bool) -> None:
    for row in ([0.0, -0.0], [1e-45, 0.0], [-1e-40, 1e-41], [3.4e38, -3.4e38], [3.4e38], []):
        x = np.float32(row)
        q = octavo.quantize(x, symmetric=symmetric)
        assert np.isfinite(q.scale)
        assert q.scale > 0
        values = q.dequantize().astype(float)
        # A code beyond the largest float32 stands for infinity.
        values = np.clip(values, -3.4e38, 3.4e38)
        assert (np.abs(values - x) <= float(q.scale) * 1.01).all()


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3)], ids=str)
def test_zero_size(shape: Any) -> None:
    for axis in (None, *range(len(shape))):
        for block in (None,) if axis is None else (None, 2):
            q = octavo.quantize(np.zeros(shape, np.float32), axis, block_size=block)
            assert q.shape == shape
            assert q.dequantize().shape == shape


def test_float16_and_float64_and_lists() -> None:
    x = np.linspace(-1, 1, 9)
    expected = octavo.quantize(x.astype(np.float32))
    for same in (x, x.tolist(), x.astype(">f8"), x.astype(np.float16)):
        assert_same_bits(octavo.quantize(same).data, expected.data)
    assert octavo.quantize(5.0).data == 127


def test_constructor_checks_what_it_is_given() -> None:
    data = np.ones((2, 3), np.int8)
    q = QTensor(data, 0.5, 3)
    assert_same_bits(q.dequantize(), np.full((2, 3), -1, np.float32))
    assert q.zero_point.dtype == np.int8
    assert QTensor(data, np.float16(0.5)).dequantize().dtype == np.float16
    assert repr(QTensor(data, [1, 1], axis=-2)) == "QTensor(shape=(2, 3), dtype=int8, axis=0)"
    assert "block_size=2" in repr(QTensor(data, np.ones((2, 2), np.float32), axis=1, block_size=2))


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda q: pickle.loads(pickle.dumps(q))]
)
def test_copies(again: Any, rng: np.random.Generator) -> None:
    q = octavo.quantize(rng.normal(0, 1, (3, 8)).astype(np.float32), 1, "uint8", False, 3)
    other = again(q)
    assert_same_bits(other.data, q.data)
    assert_same_bits(other.dequantize(), q.dequantize())
    assert (other.axis, other.block_size) == (q.axis, q.block_size)


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=1, max_dims=3, max_side=20),
        elements=st.floats(-(2.0**127), 2.0**127, width=32),
    ),
    st.booleans(),
    st.sampled_from(CODES),
    st.data(),
)
def test_any_array(x: Any, symmetric: bool, codes: str, data: Any) -> None:
    axis = data.draw(st.none() | st.integers(-x.ndim, x.ndim - 1))
    block = None if axis is None else data.draw(st.none() | st.integers(1, 25))
    q = octavo.quantize(x, axis, codes, symmetric, block)
    with np.errstate(over="ignore"):
        values = q.dequantize().astype(np.float64)
    # float32's own rounding of code * scale adds at most a few parts in 2**23 of the range.
    step = float(q.scale.max()) * 1.05
    assert (np.abs(values - x)[np.isfinite(values)] <= step).all()
    assert np.isfinite(values).all() or np.abs(x).max() > 2.0**126


X = np.ones((2, 3), np.float32)
D = np.ones((2, 3), np.int8)
BAD_CALLS = {
    "nan": (ValueError, "x", lambda: octavo.quantize([1.0, np.nan])),
    "inf": (ValueError, "x", lambda: octavo.quantize([[1.0, np.inf]], axis=1)),
    "inf in a block": (ValueError, "x", lambda: octavo.quantize([1.0, -np.inf], 0, block_size=1)),
    "int": (TypeError, "x", lambda: octavo.quantize(D)),
    "object": (TypeError, "x", lambda: octavo.quantize(X.astype(object))),
    "axis": (ValueError, "axis", lambda: octavo.quantize(X, 2)),
    "axis type": (TypeError, "axis", lambda: octavo.quantize(X, "rows")),
    "axis of scalar": (ValueError, "axis", lambda: octavo.quantize(1.0, 0)),
    "dtype": (TypeError, "dtype", lambda: octavo.quantize(X, dtype="float32")),
    "symmetric": (TypeError, "symmetric", lambda: octavo.quantize(X, symmetric="yes")),
    "block without axis": (ValueError, "axis", lambda: octavo.quantize(X, block_size=2)),
    "block 0": (ValueError, "block_size", lambda: octavo.quantize(X, 1, block_size=0)),
    "data float": (TypeError, "data", lambda: QTensor(X, 1.0)),
    "scale 0": (ValueError, "scale", lambda: QTensor(D, 0.0)),
    "scale shape": (ValueError, "scale", lambda: QTensor(D, [1.0, 1.0], axis=1)),
    "point": (ValueError, "zero_point", lambda: QTensor(D, 1.0, 200)),
}

test_bad_arguments_are_named = refusals(BAD_CALLS)
