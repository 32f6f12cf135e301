# SPDX-License-Identifier: Apache-2.0
"""A float32 matrix that stores its non-zeros only."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from octavo import _backend, _checks
from octavo._types import Array
from octavo.sparse import coordinates, foreign
from octavo.sparse.coordinates import Rows


class SparseMatrix:
    """An immutable (N, K) float32 matrix of non-zeros in any places, N being outputs.

    Made by `from_dense`, `from_csr`, `from_scipy` or `from_torch`; used by `octavo.sparse.spmm` and
    `octavo.functional.sparse_linear`.  It holds blocks of 128 rows by 256 columns, in them slices
    of eight rows of about the same length: a byte for a column, four for a value, 5.2 to 5.5 bytes
    for a non-zero at 80 to 95% zeros.

    Stored values may be zero, infinite or NaN; what is not stored takes no part in a product.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> a = octavo.sparse.SparseMatrix.from_dense(np.array([[0, 2, 0], [1, 0, -1]], np.float32))
    >>> a
    SparseMatrix(shape=(2, 3), nnz=3, density=50.0%)
    >>> octavo.sparse.spmm(a, np.ones((3, 1), np.float32))
    array([[2.],
           [0.]], dtype=float32)
    """

    __slots__ = ("_stored",)

    _stored: Any

    def __init__(self) -> None:
        raise TypeError("SparseMatrix: use from_dense, from_csr, from_scipy or from_torch")

    @classmethod
    def _of(cls, rows: Rows) -> SparseMatrix:
        self = cls.__new__(cls)
        self._stored = _backend.backend.SparseF32(
            rows.indptr, rows.indices, rows.values, rows.shape[1]
        )
        return self

    @classmethod
    def from_dense(cls, matrix: ArrayLike) -> SparseMatrix:
        """Keep what is not zero.

        Parameters
        ----------
        matrix : float array, shape (N, K)
            float64 is rounded to float32.  -0 counts as zero, NaN does not.

        Returns
        -------
        SparseMatrix

        Raises
        ------
        TypeError
            If `matrix` holds no floats.
        ValueError
            If it has not two dimensions.
        """
        dense = _checks.as_float32(matrix, "matrix", float64=True)
        if dense.ndim != 2:
            raise ValueError(f"matrix: expected shape (N, K), got {dense.shape}")
        shape = coordinates.check_shape(dense.shape, "matrix.shape")
        kept = dense != 0
        indptr = np.zeros(shape[0] + 1, np.int64)
        np.cumsum(np.count_nonzero(kept, axis=1), out=indptr[1:])
        indices = np.nonzero(kept)[1]
        return cls._of(coordinates.compressed(indptr, indices, dense[kept], shape))

    @classmethod
    def from_csr(
        cls, indptr: ArrayLike, indices: ArrayLike, values: ArrayLike, shape: tuple[int, int]
    ) -> SparseMatrix:
        """Take compressed rows; the arrays are copied.

        Parameters
        ----------
        indptr : integers, shape (N + 1,)
            Row n holds places ``indptr[n]`` to ``indptr[n + 1]`` of the other two.
        indices : integers, shape (nnz,)
            Columns, rising strictly along each row.
        values : floats, shape (nnz,)
            float64 is rounded to float32; zeros are kept.
        shape : (N, K), each below 2**31

        Returns
        -------
        SparseMatrix

        Raises
        ------
        ValueError
            If `indptr` does not rise from 0 to nnz in N + 1 steps, if an index is out of range,
            unsorted or duplicated (the message names the row), or if lengths disagree.

        Examples
        --------
        >>> import octavo
        >>> a = octavo.sparse.SparseMatrix.from_csr([0, 1, 1], [2], [0.5], (2, 3))
        >>> a.to_dense()
        array([[0. , 0. , 0.5],
               [0. , 0. , 0. ]], dtype=float32)
        """
        n, k = coordinates.check_shape(shape)
        numbers = _checks.as_float32(values, "values", float64=True)
        coordinates.check_vector(numbers, "values")
        columns = coordinates.check_range(indices, k, "indices", "columns")
        coordinates.check_count(numbers, columns.size)
        starts = coordinates.check_pointers(indptr, n, columns.size)
        coordinates.check_ascending(starts, columns)
        return cls._of(coordinates.compressed(starts, columns, numbers, (n, k)))

    @classmethod
    def from_scipy(cls, matrix: Any) -> SparseMatrix:
        """Convert a scipy.sparse matrix or array of any format.

        Unsorted indices are sorted and duplicates added, in a copy.  Zeros that CSR, CSC and COO
        store are kept, zeros in BSR blocks are not.  float64 is rounded to float32.

        Parameters
        ----------
        matrix : scipy.sparse matrix or array, shape (N, K)

        Returns
        -------
        SparseMatrix

        Raises
        ------
        TypeError
            If `matrix` is none of scipy.sparse, or holds no floats.
        ValueError
            If its index arrays contradict each other or its shape.
        """
        return cls._of(foreign.read_scipy(matrix, "matrix"))

    @classmethod
    def from_torch(cls, tensor: Any) -> SparseMatrix:
        """Convert a sparse PyTorch tensor: COO, CSR, CSC, BSR or BSC.

        Indices and zeros are treated as `from_scipy` does; the tensor may be on any device.

        Parameters
        ----------
        tensor : torch.Tensor, shape (N, K), of a sparse layout

        Returns
        -------
        SparseMatrix

        Raises
        ------
        TypeError
            If `tensor` is no sparse tensor of floats.
        ValueError
            If it has not two dimensions, or its indices contradict each other or its shape.
        """
        return cls._of(foreign.read_torch(tensor, "tensor"))

    def to_dense(self) -> Array:
        """Return the whole matrix, a fresh (N, K) float32 array."""
        return coordinates.to_dense(coordinates.Rows(*self.to_csr(), self.shape))

    def to_csr(self) -> tuple[Array, Array, Array]:
        """Return indptr (int64), indices (int32) and values (float32) as fresh arrays."""
        return self._stored.unpack()

    def to_scipy(self) -> Any:
        """Return a fresh ``scipy.sparse.csr_array``; needs scipy."""
        indptr, indices, values = self.to_csr()
        made = importlib.import_module("scipy.sparse").csr_array(
            (values, indices, indptr), shape=self.shape
        )
        made.has_canonical_format = True
        return made

    @property
    def shape(self) -> tuple[int, int]:
        """(N, K)."""
        n, k = self._stored.shape
        return n, k

    @property
    def nnz(self) -> int:
        """Number of stored values."""
        return int(self._stored.nnz)

    @property
    def nbytes(self) -> int:
        """Bytes this object holds."""
        return int(self._stored.nbytes)

    @property
    def density(self) -> float:
        """Share of stored values in N * K; 0 for a matrix without places."""
        n, k = self.shape
        return self.nnz / (n * k) if n and k else 0.0

    def __repr__(self) -> str:
        return f"SparseMatrix(shape={self.shape}, nnz={self.nnz}, density={self.density:.1%})"

    def __reduce__(self) -> tuple[Any, ...]:
        return SparseMatrix.from_csr, (*self.to_csr(), self.shape)

    def __copy__(self) -> SparseMatrix:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> SparseMatrix:
        return self
