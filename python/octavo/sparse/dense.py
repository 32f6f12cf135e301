# SPDX-License-Identifier: Apache-2.0
"""Sparse things of any kind as plain arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from octavo.sparse.foreign import is_scipy, is_torch
from octavo.sparse.matrix import SparseMatrix

__all__ = ["as_dense"]


def as_dense(x: Any) -> Any:
    """Return a sparse matrix of any library as a dense array, anything else as it is.

    Parameters
    ----------
    x : SparseMatrix, scipy.sparse matrix, torch.Tensor, or anything else
    """
    if isinstance(x, SparseMatrix):
        return x.to_dense()
    if is_scipy(x):
        # Through float32, which holds int8 codes exactly: index arrays are checked on that way.
        return SparseMatrix.from_scipy(x.astype(np.float32)).to_dense().astype(x.dtype)
    if is_torch(x) and str(x.layout) != "torch.strided":
        return SparseMatrix.from_torch(x).to_dense()
    return x
