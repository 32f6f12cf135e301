# SPDX-License-Identifier: Apache-2.0
"""What pruning wants to know about a layer's inputs, gathered batch by batch in constant memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from octavo import _checks
from octavo._types import Array

CHUNK = 1 << 12
"""Rows that are widened to float64 at a time."""


class InputNorms:
    """The L2 norm of each input channel over all rows seen.

    Parameters
    ----------
    width : int
        K, the layer's number of inputs.

    Attributes
    ----------
    rows : int
        Rows seen so far.
    sum_of_squares : numpy.ndarray
        float64, (K,).

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms import pruning
    >>> norms = pruning.InputNorms(2)
    >>> norms.update(np.array([[3.0, 0.0], [4.0, 1.0]], np.float32))
    >>> norms.norms()
    array([5., 1.])
    """

    def __init__(self, width: int) -> None:
        self.width = _checks.integer(width, "width", 1)
        self.rows = 0
        self.sum_of_squares = np.zeros(self.width)

    def update(self, x: ArrayLike) -> None:
        """Take in rows.

        Parameters
        ----------
        x : float array, shape (..., K), finite
            Without the rows of padding, which would count like any other.
        """
        rows = rows_of(x, self.width)
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK].astype(np.float64)
            self.sum_of_squares += np.einsum("ij,ij->j", part, part)
        self.rows += len(rows)

    @property
    def is_silent(self) -> bool:
        """Whether all inputs were zero, and so tell no weight from another."""
        return not self.sum_of_squares.any()

    def norms(self) -> Array:
        """Return the norms, float64 of shape (K,); ValueError if no row was seen."""
        require_rows(self.rows)
        return np.sqrt(self.sum_of_squares)


class InputHessian:
    """The Hessian of a layer's squared output error, up to a factor: the sum of x xᵀ.

    Parameters
    ----------
    width : int
        K, the layer's number of inputs; the matrix takes K x K float64.

    Attributes
    ----------
    rows : int
        Rows seen so far.
    sum_of_products : numpy.ndarray
        float64, (K, K).

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms import pruning
    >>> hessian = pruning.InputHessian(2)
    >>> hessian.update(np.array([[1.0, 2.0], [1.0, 0.0]], np.float32))
    >>> hessian.matrix()
    array([[1., 1.],
           [1., 2.]])
    """

    def __init__(self, width: int) -> None:
        self.width = _checks.integer(width, "width", 1)
        self.rows = 0
        self.sum_of_products = np.zeros((self.width, self.width))

    def update(self, x: ArrayLike) -> None:
        """Take in rows; as `InputNorms.update`."""
        rows = rows_of(x, self.width)
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK].astype(np.float64)
            self.sum_of_products += part.T @ part
        self.rows += len(rows)

    def matrix(self) -> Array:
        """Return the mean of x xᵀ, float64 of shape (K, K); ValueError if no row was seen."""
        require_rows(self.rows)
        return self.sum_of_products / self.rows

    @property
    def is_silent(self) -> bool:
        """Whether all inputs were zero, and so tell no weight from another."""
        return not np.diagonal(self.sum_of_products).any()

    def norms(self) -> Array:
        """Return the L2 norm of each input channel, as `InputNorms.norms` does."""
        require_rows(self.rows)
        return np.sqrt(np.diagonal(self.sum_of_products))


def rows_of(x: ArrayLike, width: int, name: str = "x") -> Array:
    """Return inputs as rows of `width` finite floats."""
    array = _checks.as_array(x, name)
    if array.dtype.kind != "f":
        raise TypeError(f"{name}: expected floats, got {array.dtype}")
    if array.ndim == 0 or array.shape[-1] != width:
        raise ValueError(f"{name}: expected shape (..., {width}), got {array.shape}")
    _checks.check_finite(array, name)
    return array.reshape(-1, width)


def require_rows(rows: int) -> None:
    """Refuse statistics of nothing."""
    if rows == 0:
        raise ValueError("statistics: expected at least one row of calibration inputs, got none")
