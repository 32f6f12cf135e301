# SPDX-License-Identifier: Apache-2.0
"""scipy.sparse matrices and sparse PyTorch tensors as canonical compressed rows.

Neither library is imported: an object of theirs can only be here if its module already is.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from octavo import _checks
from octavo._types import Array
from octavo.sparse.coordinates import (
    Rows,
    check_count,
    check_range,
    check_shape,
    check_vector,
    from_blocks,
    from_compressed,
    from_coordinates,
)


def is_scipy(x: object) -> bool:
    """Whether `x` is a matrix or an array of scipy.sparse."""
    module: Any = sys.modules.get("scipy.sparse")
    return module is not None and bool(module.issparse(x))


def is_torch(x: object) -> bool:
    """Whether `x` is a PyTorch tensor."""
    module: Any = sys.modules.get("torch")
    return module is not None and isinstance(x, module.Tensor)


def read_scipy(matrix: Any, name: str, *, codes: bool = False) -> Rows:
    """Read any format of scipy.sparse; of int8 codes instead of floats if `codes`."""
    if not is_scipy(matrix):
        raise TypeError(f"{name}: expected a scipy.sparse matrix, got {_checks.describe(matrix)}")
    if matrix.ndim != 2:
        raise ValueError(f"{name}: expected two dimensions, got shape {matrix.shape}")
    shape = check_shape(tuple(matrix.shape), f"{name}.shape")
    kind = matrix.format
    if kind in ("csr", "csc", "bsr"):
        values = _scipy_values(matrix, name, codes)
        read = from_blocks if kind == "bsr" else from_compressed
        return read(matrix.indptr, matrix.indices, values, shape, by_columns=kind == "csc")
    if kind == "dia" and matrix.data.shape[:1] != matrix.offsets.shape:
        wanted, got = matrix.data.shape[0], matrix.offsets.shape
        raise ValueError(f"offsets: expected {wanted} (one per diagonal), got shape {got}")
    if kind != "coo":
        matrix = matrix.tocoo()
    return _read_coordinates(matrix.row, matrix.col, _scipy_values(matrix, name, codes), shape)


def read_torch(tensor: Any, name: str, *, codes: bool = False) -> Rows:
    """Read a sparse PyTorch tensor of any layout (COO, CSR, CSC, BSR, BSC); `codes` as above."""
    if not is_torch(tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, got {_checks.describe(tensor)}")
    layout = str(tensor.layout).rpartition(".sparse_")[2]
    if layout not in ("coo", "csr", "csc", "bsr", "bsc"):
        raise TypeError(f"{name}: expected a sparse tensor, got layout {tensor.layout}")
    if tensor.ndim != 2:
        raise ValueError(f"{name}: expected two dimensions, got shape {tuple(tensor.shape)}")
    shape = check_shape(tuple(tensor.shape), f"{name}.shape")
    tensor = tensor.detach().cpu()
    if codes:
        # Before codes that share a place are added: int8 would wrap around.
        _require_int8(str(tensor.dtype).removeprefix("torch."), name)
        tensor = tensor.float()
    if layout == "coo":
        tensor = tensor.coalesce()
        rows, columns = tensor.indices().numpy()
        return _read_coordinates(rows, columns, _floats(_numbers(tensor), name), shape)
    by_columns = layout in ("csc", "bsc")
    starts = tensor.ccol_indices() if by_columns else tensor.crow_indices()
    indices = tensor.row_indices() if by_columns else tensor.col_indices()
    read = from_blocks if layout in ("bsr", "bsc") else from_compressed
    values = _floats(_numbers(tensor), name)
    return read(starts.numpy(), indices.numpy(), values, shape, by_columns=by_columns)


def _numbers(tensor: Any) -> Array:
    """Return the stored values; bfloat16, which NumPy has not, becomes float32."""
    values = tensor.values()
    return (values.float() if str(values.dtype) == "torch.bfloat16" else values).numpy()


def _scipy_values(matrix: Any, name: str, codes: bool) -> Array:
    if codes:
        _require_int8(matrix.data.dtype, name)
        return np.asarray(matrix.data, np.float32)
    return _floats(matrix.data, name)


def _require_int8(dtype: object, name: str) -> None:
    if str(dtype) != "int8":
        raise TypeError(f"{name}: expected int8, got {dtype}")


def _floats(values: object, name: str) -> Array:
    return _checks.as_float32(values, f"{name}'s values", float64=True)


def _read_coordinates(rows: object, columns: object, values: Array, shape: tuple[int, int]) -> Rows:
    row_ids = check_range(rows, shape[0], "rows", "rows")
    column_ids = check_range(columns, shape[1], "columns", "columns")
    check_vector(values, "values")
    check_count(values, row_ids.size)
    if column_ids.size != row_ids.size:
        raise ValueError(f"columns: expected {row_ids.size}, one per row, got {column_ids.size}")
    return from_coordinates(row_ids, column_ids, values, shape)
