# SPDX-License-Identifier: Apache-2.0
"""SparseMatrix: made from anything sparse and back, and bad index arrays refused before use."""

from __future__ import annotations

import copy
import itertools
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from native import core, needs_core
from octavo import _backend
from octavo.sparse import SparseMatrix
from reference import assert_same_bits

pytestmark = pytest.mark.usefixtures("isa")

Array = np.ndarray[Any, np.dtype[Any]]
GOOD = ([0, 2, 2, 3], [0, 3, 1], [1.0, 2.0, 3.0], (3, 4))


@pytest.fixture
def dense(rng: np.random.Generator) -> Array:
    weight = rng.normal(0, 1, (12, 20)).astype(np.float32)
    weight[rng.random(weight.shape) < 0.7] = 0
    weight[3] = 0
    return weight


def same(a: SparseMatrix, b: SparseMatrix) -> None:
    assert a.shape == b.shape
    for left, right in zip(a.to_csr(), b.to_csr(), strict=True):
        assert_same_bits(left, right)


def test_what_it_says(dense: Array) -> None:
    a = SparseMatrix.from_dense(dense)
    nnz = np.count_nonzero(dense)
    assert (a.shape, a.nnz, a.density) == ((12, 20), nnz, nnz / 240)
    assert a.nbytes >= 5 * nnz
    assert repr(a) == f"SparseMatrix(shape=(12, 20), nnz={nnz}, density={nnz / 240:.1%})"
    assert_same_bits(a.to_dense(), dense)
    same(SparseMatrix.from_csr(*a.to_csr(), a.shape), a)
    assert SparseMatrix.from_dense(np.zeros((0, 3), np.float32)).density == 0
    with pytest.raises(TypeError, match=r"^SparseMatrix: use from_dense"):
        SparseMatrix()


def test_copies(dense: Array) -> None:
    a = SparseMatrix.from_dense(dense)
    same(pickle.loads(pickle.dumps(a)), a)
    assert copy.copy(a) is a
    assert copy.deepcopy({"a": a})["a"] is a
    parts = a.to_csr()
    b = SparseMatrix.from_csr(*parts, a.shape)
    parts[2][:] = 7
    a.to_csr()[2][:] = 7
    same(b, SparseMatrix.from_dense(dense))


def test_dense_input(dense: Array) -> None:
    wanted = SparseMatrix.from_dense(dense)
    same(SparseMatrix.from_dense(np.asfortranarray(dense)), wanted)
    same(SparseMatrix.from_dense(dense.astype(float)), wanted)
    same(SparseMatrix.from_dense(np.repeat(dense, 2, axis=1)[:, ::2]), wanted)
    odd = np.array([[-0.0, np.nan, 1e-45]], np.float32)
    assert SparseMatrix.from_dense(odd).nnz == 2
    with pytest.raises(TypeError, match=r"^matrix: expected float32 or float16, got int64"):
        SparseMatrix.from_dense(np.eye(3, dtype=np.int64))
    for wrong in (dense[0], dense[None]):
        with pytest.raises(ValueError, match=r"^matrix: expected shape \(N, K\), got"):
            SparseMatrix.from_dense(wrong)


BAD = [
    ({"indptr": [0, 2, 3]}, r"^indptr: expected 4 values, got 3"),
    ({"indptr": []}, r"^indptr: (expected 4 values, got 0|expected integers)"),
    ({"indptr": [1, 2, 2, 3]}, r"^indptr: expected 0 at the start, got 1"),
    ({"indptr": [0, 2, 1, 3]}, r"^indptr: .*never fall, got 1 after 2 at row 1"),
    ({"indptr": [0, 9, 2, 3]}, r"^indptr: .*never fall, got 2 after 9 at row 1"),
    ({"indptr": [0, 2, 2, 2]}, r"^indptr: expected 3 \(one per index\) at the end, got 2"),
    ({"indptr": [0, 2, 2, 2**62]}, r"^indptr: expected 3 .* got 4611686018427387904"),
    ({"indptr": np.array([0, 0, 0, 2**64 - 1], np.uint64)}, r"^indptr: expected values below"),
    ({"indptr": [[0, 2, 2, 3]]}, r"^indptr: expected one dimension"),
    ({"indptr": [0.0, 2.0, 2.0, 3.0]}, r"^indptr: expected integers, got float64"),
    ({"indices": [0, 4, 1]}, r"^indices: expected columns in \[0, 4\), got 4 at 1"),
    ({"indices": [0, 3, -1]}, r"^indices: expected columns in \[0, 4\), got -1 at 2"),
    ({"indices": [0, 2**32, 1]}, r"^indices: expected columns in \[0, 4\), got 4294967296"),
    ({"indices": [3, 0, 1]}, r"^indices: .*unsorted ones in row 0 \(0 after 3\)"),
    ({"indptr": [0, 1, 3, 3], "indices": [0, 3, 3]}, r"^indices: .*duplicated ones in row 1"),
    ({"indices": [0, 3]}, r"^values: expected 2 \(one per index\), got 3"),
    ({"values": [1.0]}, r"^values: expected 3 \(one per index\), got 1"),
    ({"values": [[1.0, 2.0, 3.0]]}, r"^values: expected one dimension"),
    ({"values": np.ones(3, np.int32)}, r"^values: expected float32 or float16, got int32"),
    ({"shape": (3,)}, r"^shape: expected two sizes \(N, K\), got \(3,\)"),
    ({"shape": 3}, r"^shape: expected two sizes \(N, K\), got int"),
    ({"shape": (3, -4)}, r"^shape\[1\]: expected a value in \[0, 2147483647\], got -4"),
    ({"shape": (3, 2**31)}, r"^shape\[1\]: expected a value in"),
    ({"shape": (3, 4.0)}, r"^shape\[1\]: expected an integer"),
    ({"shape": (2**40, 4)}, r"^shape\[0\]: expected a value in"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_rows(change: dict[str, Any], message: str) -> None:
    arguments = dict(zip(("indptr", "indices", "values", "shape"), GOOD, strict=True))
    SparseMatrix.from_csr(**arguments)
    with pytest.raises((TypeError, ValueError), match=message):
        SparseMatrix.from_csr(**{**arguments, **change})


def is_canonical(indptr: list[int], indices: list[int], count: int, n: int, k: int) -> bool:
    if min(n, k) < 0 or len(indptr) != n + 1 or len(indices) != count:
        return False
    if sorted(indptr) != indptr or (indptr[0], indptr[-1]) != (0, count):
        return False
    rows = [indices[i:j] for i, j in itertools.pairwise(indptr)]
    return all(sorted(set(row)) == row and set(row) <= set(range(k)) for row in rows)


ints = st.integers(-2, 9)


@given(st.lists(ints, max_size=6), st.lists(ints, max_size=6), ints, ints, st.integers(0, 7))
def test_any_arrays_are_taken_or_refused(
    indptr: list[int], indices: list[int], n: int, k: int, count: int
) -> None:
    values = np.arange(1, count + 1, dtype=np.float32)
    if not is_canonical(indptr, indices, count, n, k):
        with pytest.raises((TypeError, ValueError), match=r"^(indptr|indices|values|shape)"):
            SparseMatrix.from_csr(indptr, indices, values, (n, k))
        return
    a = SparseMatrix.from_csr(indptr, indices, values, (n, k))
    assert [part.tolist() for part in a.to_csr()] == [indptr, indices, values.tolist()]


@given(st.data())
def test_canonical_arrays_come_back(data: st.DataObject) -> None:
    k = data.draw(st.integers(1, 600))
    columns = st.lists(st.integers(0, k - 1), max_size=12, unique=True).map(sorted)
    rows = data.draw(st.lists(columns, max_size=20))
    indptr = np.cumsum([0, *map(len, rows)])
    indices = np.array([column for row in rows for column in row], np.int64)
    values = np.arange(indices.size, dtype=np.float32)
    a = SparseMatrix.from_csr(indptr, indices, values, (len(rows), k))
    for left, right in zip(a.to_csr(), (indptr, indices, values), strict=True):
        np.testing.assert_array_equal(left, right)


@needs_core
def test_the_native_class_checks_again() -> None:
    starts, columns, values = np.array([0, 1]), np.zeros(1, np.int32), np.ones(1, np.float32)
    good = core.SparseF32(starts, columns, values, 1)
    for wrong in ([0, 2], [1, 1], [-1, 1], [2, 1]):
        with pytest.raises(ValueError, match=r"^indptr, indices: expected canonical"):
            core.SparseF32(np.array(wrong), columns, values, 1)
    with pytest.raises(ValueError, match=r"^indptr: "):
        core.SparseF32(np.zeros(0, np.int64), columns, values, 1)
    with pytest.raises(ValueError, match=r"^values: "):
        core.SparseF32(starts, columns, values[:0], 1)
    with pytest.raises(ValueError, match=r"^k: "):
        core.SparseF32(starts, columns, values, 2**31)
    x, out = np.ones((1, 3), np.float32), np.ones((1, 3), np.float32)
    for wrong in (x.T, x.astype(float), x[0]):
        with pytest.raises(ValueError, match=r"^x: expected"):
            good.matmul(wrong, out)
    for wrong in (out[:, :2], out.astype(float), np.broadcast_to(out[:, :1], (1, 3))):
        with pytest.raises(ValueError, match=r"^out: expected"):
            good.matmul(x, wrong)


def test_backends_agree_on_what_they_store(dense: Array) -> None:
    a = SparseMatrix.from_dense(dense)
    with _backend.use("numpy"):
        same(SparseMatrix.from_dense(dense), a)
