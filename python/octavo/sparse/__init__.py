# SPDX-License-Identifier: Apache-2.0
"""Float32 sparse matrices and their products with dense arrays."""

from __future__ import annotations

from octavo.sparse.matrix import SparseMatrix
from octavo.sparse.product import sparse_linear, spmm

__all__ = ["SparseMatrix", "sparse_linear", "spmm"]
