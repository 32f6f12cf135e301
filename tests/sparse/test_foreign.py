# SPDX-License-Identifier: Apache-2.0
"""Matrices of scipy.sparse and sparse tensors of PyTorch: of floats for products, of int8 codes and
floats for layers; index arrays that somebody broke are refused before use."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octavo import Linear
from octavo.nn import SparseLinear
from octavo.sparse import SparseMatrix
from reference import assert_same_bits

Array = np.ndarray[Any, np.dtype[Any]]

beta = pytest.mark.filterwarnings("ignore:Sparse (.* tensor support|invariant checks):UserWarning")


@pytest.fixture
def codes(rng: np.random.Generator) -> Array:
    values = rng.integers(-127, 128, (12, 20)).astype(np.int8)
    values[rng.random(values.shape) < 0.7] = 0
    values[3] = 0
    return values


def read(made: Any) -> Array:
    """What octavo makes of int8 codes, or of floats."""
    if "int8" in str(made.dtype):
        return SparseLinear.from_quantized(made, 1.0).weight_codes
    of_torch = type(made).__module__.startswith("torch")
    return (SparseMatrix.from_torch if of_torch else SparseMatrix.from_scipy)(made).to_dense()


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr", "lil", "dok", "dia"])
@pytest.mark.parametrize("family", ["array", "matrix"])
def test_scipy(codes: Array, kind: str, family: str) -> None:
    make = getattr(pytest.importorskip("scipy.sparse"), f"{kind}_{family}")
    assert_same_bits(read(make(codes)), codes)
    weight = codes * np.float32(0.03)
    for dtype in (np.float32, np.float64):
        assert_same_bits(read(make(weight.astype(dtype))), weight)
    layer, wanted = SparseLinear.from_float(make(weight)), Linear.from_float(weight)
    assert_same_bits(layer.weight_codes, wanted.weight_codes)
    assert_same_bits(layer.weight_scale, wanted.weight_scale)
    back = SparseMatrix.from_dense(weight).to_scipy()
    assert (back.format, back.dtype) == ("csr", np.float32)
    np.testing.assert_array_equal(back.toarray(), weight)


@beta
@pytest.mark.parametrize("layout", ["coo", "csr", "csc", "bsr", "bsc"])
def test_torch(codes: Array, layout: str) -> None:
    torch = pytest.importorskip("torch")

    def make(array: Array) -> Any:
        tensor = torch.from_numpy(array)
        convert = getattr(tensor, "to_sparse" if layout == "coo" else f"to_sparse_{layout}")
        return convert((3, 5)) if layout in ("bsr", "bsc") else convert()

    assert_same_bits(read(make(codes)), codes)
    weight = codes * np.float32(0.03)
    for made in (make(weight), make(weight).double()):
        assert_same_bits(read(made), weight)
    layer = SparseLinear.from_float(make(weight))
    assert_same_bits(layer.weight_codes, Linear.from_float(weight).weight_codes)
    if layout in ("coo", "csr"):
        rounded = torch.from_numpy(weight).bfloat16().float().numpy()
        assert_same_bits(read(make(weight).bfloat16()), rounded)


def test_own_matrices_become_layers(codes: Array) -> None:
    weight = codes * np.float32(0.03)
    layer = SparseLinear.from_float(SparseMatrix.from_dense(weight))
    assert_same_bits(layer.weight, Linear.from_float(weight).weight)


def test_disorder_is_put_in_order() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    matrix = sparse.csr_matrix((2, 4), dtype=np.float32)
    matrix.data = np.array([1, 2, 4, 8], np.float32)
    matrix.indices = np.array([3, 0, 3, 1], np.int32)
    matrix.indptr = np.array([0, 3, 4], np.int32)
    expected = np.array([[2, 0, 0, 5], [0, 8, 0, 0]], np.float32)
    np.testing.assert_array_equal(read(matrix), expected)
    np.testing.assert_array_equal(read(matrix.T), expected.T)
    assert matrix.indices.tolist() == [3, 0, 3, 1]
    matrix.data[1] = 0
    assert SparseMatrix.from_scipy(matrix).nnz == 3


@pytest.mark.parametrize("pair", [(100, 27), (100, 28), (-100, -100), (-64, -64)], ids=str)
@pytest.mark.parametrize("library", ["scipy.sparse", "torch"])
def test_duplicates_add_up_or_are_refused(pair: tuple[int, int], library: str) -> None:
    module = pytest.importorskip(library)
    values, places = np.array(pair, np.int8), ([1, 1], [2, 2])
    total = sum(pair)

    def make(values: Array) -> Any:
        if library == "scipy.sparse":
            return module.coo_array((values, places), shape=(2, 3))
        return module.sparse_coo_tensor(
            module.tensor(places), module.from_numpy(values), (2, 3), check_invariants=True
        )

    assert read(make(values.astype(np.float32))).tolist() == [[0, 0, 0], [0, 0, total]]
    if -128 <= total <= 127:
        assert read(make(values)).tolist() == [[0, 0, 0], [0, 0, total]]
        return
    with pytest.raises(ValueError, match=rf"^codes: .*sums of duplicates, got {total}"):
        read(make(values))


@pytest.mark.parametrize("dtype", [np.int8, np.float32])
@pytest.mark.parametrize("kind", ["csr", "csc", "bsr"])
@pytest.mark.parametrize("attribute", ["indices", "indptr"])
@pytest.mark.parametrize("value", [10**6, -5, 2**31 - 1])
def test_corrupt_index_arrays(
    codes: Array, dtype: Any, kind: str, attribute: str, value: int
) -> None:
    made = getattr(pytest.importorskip("scipy.sparse"), f"{kind}_array")(codes.astype(dtype))
    getattr(made, attribute)[1] = value
    with pytest.raises(ValueError, match=rf"^{attribute}: expected"):
        read(made)


def test_other_corrupt_arrays(codes: Array) -> None:
    sparse, torch = (pytest.importorskip(name) for name in ("scipy.sparse", "torch"))
    made = sparse.coo_array(codes)
    made.coords[0][0] = 10**6
    with pytest.raises(ValueError, match=r"^rows: expected rows in \[0, 12\), got 1000000"):
        read(made)
    made = sparse.dia_array(codes)
    for offsets in (np.arange(3), np.zeros((3, 3), np.int64), np.arange(10**6)):
        made.offsets = offsets
        with pytest.raises(ValueError, match=r"^offsets: expected \d+ \(one per diagonal\)"):
            read(made)
    starts, columns, values = torch.tensor([0, 2, 3]), torch.tensor([0, 9, 1]), torch.ones(3)
    loose = torch.sparse_csr_tensor(starts, columns, values, (2, 3), check_invariants=False)
    with pytest.raises(ValueError, match=r"^indices: expected columns in \[0, 3\), got 9 at 1"):
        read(loose)


@beta
def test_refusals(codes: Array) -> None:
    sparse, torch = (pytest.importorskip(name) for name in ("scipy.sparse", "torch"))
    csr, wide = sparse.csr_array(codes), sparse.csr_array(codes.astype(np.int64))
    tensor = torch.from_numpy(codes).float().to_sparse()
    from_scipy, from_torch = SparseMatrix.from_scipy, SparseMatrix.from_torch
    quantized = SparseLinear.from_quantized
    for call, error, message in (
        (lambda: quantized(wide, 0.1), TypeError, "codes: expected int8, got int64"),
        (lambda: quantized(tensor, 0.1), TypeError, "codes: expected int8, got float32"),
        (
            lambda: quantized(SparseMatrix.from_dense(codes.astype(np.float32)), 1.0),
            TypeError,
            "codes: expected int8, got float32",
        ),
        (lambda: SparseLinear.from_float(csr), TypeError, "weight's values: .* got int8"),
        (lambda: from_scipy(wide), TypeError, "matrix's values: expected float32 .* got int64"),
        (lambda: from_scipy(codes), TypeError, "matrix: expected a scipy.sparse matrix, got an"),
        (lambda: from_torch(codes), TypeError, "tensor: expected a torch.Tensor, got an array"),
        (lambda: from_torch(torch.zeros(2, 3)), TypeError, "tensor: expected a sparse tensor, got"),
        (
            lambda: from_torch(torch.zeros(2, 3, 4).to_sparse()),
            ValueError,
            "tensor: expected two dimensions",
        ),
    ):
        with pytest.raises(error, match=f"^{message}"):
            call()


index = st.integers(-3, 12) | st.sampled_from([2**31 - 1, -(2**31), 10**6])


@given(st.sampled_from(["csr", "csc", "bsr", "coo"]), st.booleans(), st.data())
def test_any_scipy_arrays_are_taken_or_refused(kind: str, int8: bool, data: st.DataObject) -> None:
    """Index arrays of any values and lengths: an exception, or the sum of what they say."""
    sparse = pytest.importorskip("scipy.sparse")
    made = getattr(sparse, f"{kind}_array")(np.eye(4, 6, dtype=np.int8 if int8 else np.float32))
    names = ["row", "col"] if kind == "coo" else ["indices", "indptr"]
    arrays = [
        np.array(data.draw(st.lists(index, max_size=8)), np.int32)
        if data.draw(st.booleans())
        else np.array(getattr(made, name), np.int32)
        for name in names
    ]
    if kind == "coo":
        made.coords = tuple(arrays)
    else:
        made.indices, made.indptr = arrays
    try:
        found = read(made)
    except ValueError as error:
        assert str(error).partition(":")[0] in {  # noqa: PT017 - it may also be taken
            *("indices", "indptr", "values", "rows", "columns", "codes", "weight"),
        }
        return
    assert found.shape == (4, 6)
