# SPDX-License-Identifier: Apache-2.0
"""spmm and sparse_linear: bits, shapes, strides, threads, and what they refuse."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import octavo
import reference
from guard import guarded, guarded_empty
from octavo import _backend, functional
from octavo.sparse import SparseMatrix
from reference import assert_same_bits

pytestmark = pytest.mark.usefixtures("isa")

Array = np.ndarray[Any, np.dtype[Any]]
SHAPES = [(1, 1), (5, 3), (128, 256), (129, 257), (40, 600), (300, 40), (0, 4), (4, 0), (0, 0)]
COLUMNS = [0, 1, 2, 3, 15, 16, 17, 32, 48, 63, 64, 65, 130]


def pruned(rng: np.random.Generator, shape: tuple[int, int], zeros: float) -> Array:
    weight = rng.normal(0, 1, shape).astype(np.float32)
    weight[rng.random(shape) < zeros] = 0
    weight[1::7] = 0
    return weight


@functools.cache
def problem(shape: tuple[int, int], zeros: float) -> tuple[Array, Array, Array]:
    """A weight, columns, and their product by the slow reference: the same for all tiers."""
    rng = np.random.default_rng(shape)
    weight = pruned(rng, shape, zeros)
    x = rng.normal(0, 1, (shape[1], max(COLUMNS))).astype(np.float32)
    return weight, x, reference.spmm(weight, x)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("zeros", [0.0, 0.9, 1.0])
def test_bits(threads: int, shape: tuple[int, int], zeros: float) -> None:
    weight, x, expected = problem(shape, zeros)
    a = SparseMatrix.from_dense(weight)
    for m in COLUMNS:
        assert_same_bits(octavo.sparse.spmm(a, x[:, :m]), expected[:, :m])
        assert_same_bits(octavo.sparse.spmm(a, x[:, :m].copy()), expected[:, :m])
        assert_same_bits(functional.sparse_linear(x[:, :m].T, a), expected[:, :m].T)
        assert_same_bits(functional.sparse_linear(x.T[:m].copy(), a), expected[:, :m].T)
    assert_same_bits(octavo.sparse.spmm(a, x[:, 4]), expected[:, 4])
    assert_same_bits(octavo.sparse.spmm(a, x[:, 5].copy()), expected[:, 5])


def test_long_work_is_split(rng: np.random.Generator, threads: int) -> None:
    weight = pruned(rng, (700, 900), 0.8)
    a = SparseMatrix.from_dense(weight)
    x = rng.normal(0, 1, (900, 200)).astype(np.float32)
    exact = weight.astype(float) @ x.astype(float)
    products = np.abs(weight).astype(float) @ np.abs(x).astype(float)
    counts = np.count_nonzero(weight, axis=1)[:, None]
    result = octavo.sparse.spmm(a, x)
    assert (np.abs(result - exact) <= ((1 + 2.0**-24) ** counts - 1) * products).all()
    assert_same_bits(octavo.sparse.spmm(a, x[:, 0]), result[:, 0])
    assert_same_bits(octavo.sparse.spmm(a, x[:, ::3]), result[:, ::3])
    assert_same_bits(octavo.sparse.spmm(a, x[:, ::-1]), result[:, ::-1])
    assert_same_bits(
        octavo.sparse.spmm(a, np.broadcast_to(x[:, :1], (900, 70)))[:, 69], result[:, 0]
    )


def test_more_columns_than_are_packed_at_once(rng: np.random.Generator, threads: int) -> None:
    weight = pruned(rng, (3, 9000), 0.99)
    x = rng.normal(0, 1, (9000, 500)).astype(np.float32)
    a = SparseMatrix.from_dense(weight)
    expected = reference.spmm(weight, x)
    assert_same_bits(octavo.sparse.spmm(a, x), expected)
    assert_same_bits(functional.sparse_linear(x.T, a), expected.T)


def test_a_wide_matrix_holds_no_empty_blocks(rng: np.random.Generator) -> None:
    k = 2**31 - 1
    a = SparseMatrix.from_csr([0, 2, 2, 3], [0, k - 1, 5], [1.0, 2.0, 3.0], (3, k))
    assert a.nbytes < 1000
    assert [part.tolist() for part in a.to_csr()[:2]] == [[0, 2, 2, 3], [0, k - 1, 5]]


def test_stored_zeros_meet_infinities(rng: np.random.Generator) -> None:
    a = SparseMatrix.from_csr([0, 2, 3], [0, 2, 1], [0.0, 1.0, np.inf], (2, 3))
    x = np.array([[np.inf, 1], [0, -1], [2, np.nan]], np.float32)
    stored = np.array([[1, 0, 1], [0, 1, 0]], bool)
    expected = reference.spmm(np.array([[0, 0, 1], [0, np.inf, 0]], np.float32), x, stored)
    assert_same_bits(octavo.sparse.spmm(a, x), expected)
    assert_same_bits(
        octavo.sparse.spmm(a, np.repeat(x, 20, axis=1)), np.repeat(expected, 20, axis=1)
    )


@pytest.mark.parametrize("front", [False, True])
@pytest.mark.parametrize("m", [1, 2, 3, 16, 40, 64, 70])
def test_guard_pages(rng: np.random.Generator, threads: int, front: bool, m: int) -> None:
    weight = pruned(rng, (130, 300), 0.8)
    x = rng.normal(0, 1, (300, m)).astype(np.float32)
    stored = SparseMatrix.from_dense(weight)
    expected = reference.spmm(weight, x)
    parts = [guarded(part, front=front) for part in stored.to_csr()]
    packed = _backend.backend.SparseF32(*parts, 300)
    out = guarded_empty((130, m), np.float32, front=front)
    packed.matmul(guarded(x, front=front), out)
    assert_same_bits(out, expected)
    out = guarded_empty((m, 130), np.float32, front=front)
    packed.matmul(guarded(x.T, front=front).T, out.T)
    assert_same_bits(out.T, expected)


sizes = st.integers(0, 40)


@given(sizes, sizes, sizes, st.integers(0, 9), st.integers(0, 2**32))
def test_sparse_is_dense(n: int, k: int, m: int, tenths: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.integers(-9, 10, (n, k)).astype(np.float32)
    weight[rng.random((n, k)) < tenths / 10] = 0
    x = rng.integers(-9, 10, (k, m)).astype(np.float32)
    a = SparseMatrix.from_dense(weight)
    assert_same_bits(a.to_dense(), weight)
    assert_same_bits(octavo.sparse.spmm(a, x), (weight.astype(float) @ x + 0.0).astype(np.float32))


def test_layer_shapes(rng: np.random.Generator) -> None:
    weight = pruned(rng, (6, 10), 0.5)
    a = SparseMatrix.from_dense(weight)
    x = rng.normal(0, 1, (2, 3, 10)).astype(np.float32)
    expected = reference.spmm(weight, x.reshape(6, 10).T).T.reshape(2, 3, 6)
    assert_same_bits(functional.sparse_linear(x, a), expected)
    assert_same_bits(functional.sparse_linear(x[1, 2], a), expected[1, 2])
    assert functional.sparse_linear(np.zeros((0, 5, 10), np.float32), a).shape == (0, 5, 6)
    assert octavo.sparse.spmm(a, x[0].T.astype(np.float16)).dtype == np.float32


def test_foreign_matrices_are_converted(rng: np.random.Generator) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    weight = pruned(rng, (6, 10), 0.5)
    x = rng.normal(0, 1, (10, 3)).astype(np.float32)
    expected = reference.spmm(weight, x)
    assert_same_bits(octavo.sparse.spmm(sparse.csc_array(weight), x), expected)
    assert_same_bits(functional.sparse_linear(x.T, sparse.coo_matrix(weight)), expected.T)


def test_refusals(rng: np.random.Generator) -> None:
    a = SparseMatrix.from_dense(np.eye(2, 3, dtype=np.float32))
    x = np.zeros((3, 2), np.float32)
    with pytest.raises(TypeError, match=r"^x: expected float32 or float16, got float64"):
        octavo.sparse.spmm(a, x.astype(float))
    with pytest.raises(TypeError, match=r"^x: .*int64"):
        functional.sparse_linear(x.astype(np.int64).T, a)
    with pytest.raises(TypeError, match=r"^a: expected a SparseMatrix.* got an array of float32"):
        octavo.sparse.spmm(np.eye(3, dtype=np.float32), x)
    with pytest.raises(TypeError, match=r"^weight: expected a SparseMatrix"):
        functional.sparse_linear(x.T, None)
    for wrong in (x.T, np.zeros((3, 1, 1), np.float32), np.float32(1)):
        with pytest.raises(ValueError, match=r"^x: expected shape \(3, M\) or \(3,\), got"):
            octavo.sparse.spmm(a, wrong)
    for wrong in (x, np.float32(1)):
        with pytest.raises(ValueError, match=r"^x: expected shape \(..., 3\), got"):
            functional.sparse_linear(wrong, a)
