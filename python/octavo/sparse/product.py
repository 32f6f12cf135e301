# SPDX-License-Identifier: Apache-2.0
"""Products of a sparse float32 matrix with a dense array."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from octavo import _checks
from octavo._results import FLOAT32, result
from octavo._types import Array
from octavo.sparse import foreign
from octavo.sparse.matrix import SparseMatrix


def spmm(a: Any, x: ArrayLike, *, out: Array | None = None) -> Array:
    """Multiply a sparse matrix by a dense one: ``a @ x`` in float32.

    Each element is the sum of its row's products, columns ascending, from +0, each added by a fused
    multiply-add: the same bits on every CPU, backend and thread count, whatever else is in `x`.
    With c stored values in the row and u = 2**-24 it lies within
    ``((1 + u)**c - 1) * sum(|a| * |x|)`` of the exact sum.  NaN and infinities spread as in any
    float product, through stored values only.

    Parameters
    ----------
    a : SparseMatrix, shape (N, K)
        Or a scipy.sparse matrix or sparse PyTorch tensor, which is converted at every call.
    x : float32 or float16 array, shape (K, M) or (K,)
        Any strides.
    out : float32 ndarray, the shape of the result, optional
        Takes the result, and is returned.  C-contiguous and writable, in memory of its own.

    Returns
    -------
    float32 ndarray, shape (N, M) or (N,)

    Raises
    ------
    TypeError
        If `a` is not sparse, or `x` neither float32 nor float16.
    ValueError
        If the shapes do not fit, or a foreign `a` contradicts itself.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> a = octavo.sparse.SparseMatrix.from_dense([[0.0, 2.0], [3.0, 0.0]])
    >>> octavo.sparse.spmm(a, np.array([1.0, 10.0], np.float32))
    array([20.,  3.], dtype=float32)
    """
    matrix = _sparse(a, "a")
    dense = _checks.as_float32(x, "x")
    if dense.ndim not in (1, 2) or dense.shape[0] != matrix.shape[1]:
        k = matrix.shape[1]
        raise ValueError(f"x: expected shape ({k}, M) or ({k},), got {dense.shape}")
    y = result(out, (matrix.shape[0], *dense.shape[1:]), FLOAT32, {"x": dense})
    columns = dense[:, None] if dense.ndim == 1 else dense
    matrix._stored.matmul(columns, y[:, None] if y.ndim == 1 else y)
    return y


def sparse_linear(x: ArrayLike, weight: Any, *, out: Array | None = None) -> Array:
    """Apply a sparse weight to rows as a layer does: ``x @ weight.T`` in float32.

    The bits are those of `spmm` on the transposed arrays.

    Parameters
    ----------
    x : float32 or float16 array, shape (..., K)
    weight : SparseMatrix, shape (N, K)
        Or a scipy.sparse matrix or sparse PyTorch tensor, which is converted at every call.
    out
        As for `spmm`.

    Returns
    -------
    float32 ndarray, shape (..., N)

    Raises
    ------
    TypeError
        If `weight` is not sparse, or `x` neither float32 nor float16.
    ValueError
        If the shapes do not fit, or a foreign `weight` contradicts itself.

    Examples
    --------
    >>> import numpy as np, octavo.functional as F
    >>> from octavo.sparse import SparseMatrix
    >>> weight = SparseMatrix.from_dense([[0.0, 2.0], [3.0, 0.0], [0.0, 0.0]])
    >>> F.sparse_linear(np.array([1.0, 10.0], np.float32), weight)
    array([20.,  3.,  0.], dtype=float32)
    """
    matrix = _sparse(weight, "weight")
    dense = _checks.as_float32(x, "x")
    n, k = matrix.shape
    if dense.ndim == 0 or dense.shape[-1] != k:
        raise ValueError(f"x: expected shape (..., {k}), got {dense.shape}")
    rows = _checks.rows_of(dense)
    y = result(out, (*dense.shape[:-1], n), FLOAT32, {"x": dense})
    matrix._stored.matmul(rows.T, y.reshape(len(rows), n).T)
    return y


def _sparse(a: Any, name: str) -> SparseMatrix:
    if isinstance(a, SparseMatrix):
        return a
    if foreign.is_scipy(a):
        return SparseMatrix._of(foreign.read_scipy(a, name))
    if foreign.is_torch(a):
        return SparseMatrix._of(foreign.read_torch(a, name))
    raise TypeError(
        f"{name}: expected a SparseMatrix, a scipy.sparse matrix or a sparse tensor,"
        f" got {_checks.describe(a)}"
    )
