# SPDX-License-Identifier: Apache-2.0
"""The float32 sparse matrix product."""

from __future__ import annotations

import numpy as np

from octavo._float_mode import in_default_mode
from octavo._numpy.fused import fused
from octavo._types import Array


class SparseF32:
    """An immutable (N, K) float32 matrix in canonical compressed rows."""

    def __init__(self, indptr: Array, indices: Array, values: Array, k: int) -> None:
        self._indptr, self._indices, self._values = indptr.copy(), indices.copy(), values.copy()
        self._k = k

    @property
    def shape(self) -> tuple[int, int]:
        """(N, K)."""
        return len(self._indptr) - 1, self._k

    @property
    def nnz(self) -> int:
        """Number of stored values."""
        return int(self._values.size)

    @property
    def nbytes(self) -> int:
        """Bytes this object holds."""
        return sum(a.nbytes for a in (self._indptr, self._indices, self._values))

    def unpack(self) -> tuple[Array, Array, Array]:
        """Return indptr (int64), indices (int32) and values (float32) as fresh arrays."""
        return self._indptr.copy(), self._indices.copy(), self._values.copy()

    @in_default_mode
    def matmul(self, x: Array, out: Array) -> None:
        """Out (N, M) = self @ x (K, M).

        A row's products are added one after the other, columns ascending, from +0, each by a fused
        multiply-add, rounded once.  Rows go from the fullest to the emptiest, so that those which
        still have a j-th value come first.
        """
        counts = np.diff(self._indptr)
        order = np.argsort(-counts, kind="stable")
        first, counts = self._indptr[order], counts[order]
        sums = np.zeros(out.shape, np.float32)
        with np.errstate(all="ignore"):
            for j in range(counts.max(initial=0)):
                live = int(np.searchsorted(-counts, -j))
                at = first[:live] + j
                sums[:live] = fused(self._values[at, None], x[self._indices[at]], sums[:live])
        out[order] = sums
