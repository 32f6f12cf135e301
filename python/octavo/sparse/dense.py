# SPDX-License-Identifier: Apache-2.0
"""Sparse things of any kind as plain arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from octavo.sparse.coordinates import to_dense
from octavo.sparse.foreign import is_scipy, is_torch, read_scipy, read_torch
from octavo.sparse.matrix import SparseMatrix


def as_dense(x: Any, name: str, *, codes: bool = False) -> Any:
    """Return a sparse matrix of any library as a dense array, floats or int8; others as is."""
    if isinstance(x, SparseMatrix):
        return x.to_dense()
    # No method of the other library runs on it before its index arrays are checked: some follow
    # them blindly.
    if is_scipy(x):
        floats = to_dense(read_scipy(x, name, codes=codes))
    elif is_torch(x) and str(x.layout) != "torch.strided":
        floats = to_dense(read_torch(x, name, codes=codes))
    else:
        return x
    if not codes:
        return floats
    if floats.size and not -128 <= floats.min() <= floats.max() <= 127:
        worst = max(floats.min(), floats.max(), key=abs)
        raise ValueError(f"{name}: expected int8 sums of duplicates, got {worst:.0f}")
    return floats.astype(np.int8)
