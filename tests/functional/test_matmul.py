# SPDX-License-Identifier: Apache-2.0
"""matmul_int8: exact on every tier, shaped like numpy.matmul."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import octavo
import reference
from reference import assert_same_bits
from refusals import refusals

pytestmark = pytest.mark.usefixtures("isa")

DTYPES = ("int8", "uint8")
SIZES = [
    (1, 1, 1),
    (1, 64, 64),
    (2, 3, 5),
    (3, 17, 33),
    (5, 16, 4),
    (7, 31, 65),
    (8, 48, 64),
    (13, 49, 130),
    (33, 35, 515),
    (0, 3, 4),
    (3, 0, 4),
    (3, 4, 0),
    (0, 0, 0),
]


def codes(rng: np.random.Generator, shape: Any, dtype: str) -> Any:
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max + 1, shape).astype(dtype)


@pytest.mark.parametrize("a_dtype", DTYPES)
@pytest.mark.parametrize("b_dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_is_exact(rng: np.random.Generator, size: Any, a_dtype: str, b_dtype: str) -> None:
    m, n, k = size
    a, b = codes(rng, (m, k), a_dtype), codes(rng, (k, n), b_dtype)
    assert_same_bits(octavo.matmul_int8(a, b), reference.matmul_int8(a, b))
    a_point = codes(rng, (m,), a_dtype)
    b_point = codes(rng, (n,), b_dtype)
    expected = reference.matmul_int8(a, b, a_point[:, None].astype(int), b_point.astype(int))
    assert_same_bits(octavo.matmul_int8(a, b, a_point, b_point), expected)
    assert_same_bits(octavo.matmul_int8(a, b, a_point[:, None], b_point[None]), expected)
    expected = reference.matmul_int8(a, b, 7, 100)
    assert_same_bits(octavo.matmul_int8(a, b, 7, np.array(100)), expected)
    assert_same_bits(octavo.matmul_int8(a, b, 7), reference.matmul_int8(a, b, 7))
    assert_same_bits(octavo.matmul_int8(a, b, None, [100]), reference.matmul_int8(a, b, 0, 100))


@pytest.mark.parametrize("a_dtype", DTYPES)
@pytest.mark.parametrize("b_dtype", DTYPES)
@pytest.mark.parametrize("k", [1, 2, 7, 64, 1031, 4096])
def test_extreme_codes(a_dtype: str, b_dtype: str, k: int) -> None:
    ends = [
        np.array([np.iinfo(d).min, 0, np.iinfo(d).max], d).repeat(3) for d in (a_dtype, b_dtype)
    ]
    a = np.repeat(ends[0][:, None], k, axis=1)
    b = np.repeat(ends[1][None], k, axis=0)
    assert_same_bits(octavo.matmul_int8(a, b), reference.matmul_int8(a, b))
    for points in ((0, 0), (int(ends[0][0]), int(ends[1][-1])), (int(ends[0][-1]), 1)):
        assert_same_bits(octavo.matmul_int8(a, b, *points), reference.matmul_int8(a, b, *points))


BATCHES = [
    ((3,), (3,)),
    ((), (4, 5)),
    ((4, 5), ()),
    ((2, 1), (1, 3)),
    ((2, 3), (3,)),
    ((0,), (1,)),
    ((2, 0), (0,)),
    ((1, 1), (1,)),
]


@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_batches_broadcast(rng: np.random.Generator, batch: Any) -> None:
    a, b = codes(rng, (*batch[0], 5, 19), "uint8"), codes(rng, (*batch[1], 19, 6), "int8")
    assert_same_bits(octavo.matmul_int8(a, b, 3, 4), reference.matmul_int8(a, b, 3, 4))


def test_vectors(rng: np.random.Generator) -> None:
    a, b = codes(rng, (40,), "int8"), codes(rng, (40,), "uint8")
    m, n = codes(rng, (3, 40), "int8"), codes(rng, (2, 40, 5), "int8")
    for left, right in ((a, b), (m, b), (a, n)):
        expected = left.astype(np.int32) @ right.astype(np.int32)
        assert_same_bits(octavo.matmul_int8(left, right), expected)


def test_strides(rng: np.random.Generator) -> None:
    a, b = codes(rng, (6, 60), "int8"), codes(rng, (60, 8), "int8")
    expected = reference.matmul_int8(a, b)
    wide = np.zeros((12, 180), np.int8)
    wide[::2, ::3] = a
    for left in (np.asfortranarray(a), wide[::2, ::3], a[::-1].copy()[::-1], a.astype(">i1")):
        for right in (np.asfortranarray(b), b[:, ::-1].copy()[:, ::-1], memoryview(b)):
            assert_same_bits(octavo.matmul_int8(left, right), expected)
    row = np.broadcast_to(a[0], (6, 60))
    assert_same_bits(octavo.matmul_int8(row, b), reference.matmul_int8(row, b))
    column = np.broadcast_to(b[:, :1], (60, 8))
    assert_same_bits(octavo.matmul_int8(a, column), reference.matmul_int8(a, column))


@pytest.mark.parametrize(
    ("a", "b", "a_point", "b_point", "bound"),
    [
        ("int8", "int8", None, None, 131071),
        ("uint8", "uint8", None, None, 33025),
        ("uint8", "int8", None, None, 65793),
        ("uint8", "int8", 128, None, 131071),
        ("int8", "int8", 127, -128, 33025),
    ],
)
def test_the_bound_on_k(a: str, b: str, a_point: Any, b_point: Any, bound: int) -> None:
    # At the bound, with the largest products, the sum still fits; one more is refused.
    a_code = np.iinfo(a).min if (a_point or 0) > 0 or a == "int8" else np.iinfo(a).max
    b_code = np.iinfo(b).max if (b_point or 0) < 0 or b == "uint8" else np.iinfo(b).min
    left = np.full((1, bound + 1), a_code, a)
    right = np.full((bound + 1, 1), b_code, b)
    points = (a_point, b_point)
    y = octavo.matmul_int8(left[:, :bound], right[:bound], *points)
    assert_same_bits(
        y, reference.matmul_int8(left[:, :bound], right[:bound], a_point or 0, b_point or 0)
    )
    with pytest.raises(ValueError, match=f"K = {bound + 1} is over {bound}"):
        octavo.matmul_int8(left, right, *points)


def test_onnx_matmul_integer(rng: np.random.Generator) -> None:
    evaluator = pytest.importorskip("onnx.reference")
    helper = pytest.importorskip("onnx.helper")
    node = helper.make_node("MatMulInteger", ["a", "b", "p", "q"], ["y"])
    run = evaluator.ReferenceEvaluator(node)
    for batch in ((), (3,), (2, 3)):
        a, b = codes(rng, (*batch, 4, 37), "uint8"), codes(rng, (*batch, 37, 9), "int8")
        p, q = np.uint8(rng.integers(256)), codes(rng, (9,), "int8")
        (expected,) = run.run(None, {"a": a, "b": b, "p": p, "q": q})
        assert_same_bits(octavo.matmul_int8(a, b, p, q), expected)


@given(st.data())
def test_any_matrices(data: Any) -> None:
    m, n, k = (data.draw(st.integers(0, 40)) for _ in range(3))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    a = codes(rng, (m, k), data.draw(st.sampled_from(DTYPES)))
    b = codes(rng, (k, n), data.draw(st.sampled_from(DTYPES)))
    a_point = data.draw(st.none() | st.integers(0, 127))
    b_point = data.draw(st.none() | st.integers(0, 127))
    expected = reference.matmul_int8(a, b, a_point or 0, b_point or 0)
    assert_same_bits(octavo.matmul_int8(a, b, a_point, b_point), expected)


A, B = np.ones((2, 3), np.int8), np.ones((3, 4), np.int8)
BAD_CALLS = {
    "float a": (TypeError, "a", lambda: octavo.matmul_int8(A.astype(np.float32), B)),
    "int16 b": (TypeError, "b", lambda: octavo.matmul_int8(A, B.astype(np.int16))),
    "list a": (TypeError, "a", lambda: octavo.matmul_int8([[1, 2, 3]], B)),
    "object a": (TypeError, "a", lambda: octavo.matmul_int8(A.astype(object), B)),
    "bool a": (TypeError, "a", lambda: octavo.matmul_int8(A > 0, B)),
    "scalar a": (ValueError, "a", lambda: octavo.matmul_int8(np.int8(1), B)),
    "scalar b": (ValueError, "b", lambda: octavo.matmul_int8(A, np.int8(1))),
    "inner": (ValueError, "b", lambda: octavo.matmul_int8(A, A)),
    "batch": (
        ValueError,
        "b",
        lambda: octavo.matmul_int8(np.ones((2, 2, 3), "i1"), np.ones((3, 3, 4), "i1")),
    ),
    "point a": (ValueError, "a_zero_point", lambda: octavo.matmul_int8(A, B, [1, 2, 3])),
    "point b": (ValueError, "b_zero_point", lambda: octavo.matmul_int8(A, B, 0, [1, 2])),
    "point rank": (ValueError, "a_zero_point", lambda: octavo.matmul_int8(A, B, [[[1], [2]]])),
    "point range": (ValueError, "a_zero_point", lambda: octavo.matmul_int8(A, B, 128)),
    "point float": (TypeError, "b_zero_point", lambda: octavo.matmul_int8(A, B, 0, 1.0)),
}

test_bad_arguments_are_named = refusals(BAD_CALLS)
