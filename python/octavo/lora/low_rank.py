# SPDX-License-Identifier: Apache-2.0
"""The low-rank change of one linear layer."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octavo import _checks

__all__ = ["LowRank"]

Array = NDArray[Any]


@dataclass(frozen=True)
class LowRank:
    """``x @ delta.T``, where ``delta = b @ a * scale`` is never made while running.

    Attributes
    ----------
    a : float32 array, shape (rank, K)
    b : float32 array, shape (N, rank)
    scale : float
        ``alpha / rank``, or ``alpha / sqrt(rank)`` (rsLoRA).
    bias : float32 array, shape (N,), optional
        Added to ``x @ a.T @ b.T``, so `scale` applies to it too.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.lora import LowRank
    >>> side = LowRank(np.ones((1, 2), np.float32), np.array([[1.0], [2.0]], np.float32), 0.5)
    >>> side.delta()
    array([[0.5, 0.5],
           [1. , 1. ]], dtype=float32)
    """

    a: Array
    b: Array
    scale: float
    bias: Array | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(out_features, in_features) of the layers that it fits."""
        return int(self.b.shape[0]), int(self.a.shape[1])

    @property
    def rank(self) -> int:
        """The width of the bottleneck."""
        return int(self.a.shape[0])

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.a.nbytes + self.b.nbytes + (0 if self.bias is None else self.bias.nbytes)

    def delta(self) -> Array:
        """Return what the layer's weight changes by, (out_features, in_features) float32."""
        change: Array = self.b @ self.a
        change *= np.float32(self.scale)
        return change

    def bias_delta(self) -> Array | None:
        """Return what the layer's bias changes by, (out_features,) float32, or None."""
        return None if self.bias is None else self.bias * np.float32(self.scale)


class SidePath:
    """A `LowRank` in the form that runs: transposed, the scale folded into the smaller product.

    Parameters
    ----------
    side : LowRank
    """

    def __init__(self, side: LowRank) -> None:
        self._down = np.ascontiguousarray(side.a.T)
        self._up = np.ascontiguousarray(side.b.T) * np.float32(side.scale)
        self._bias = side.bias_delta()
        self.nbytes = self._down.nbytes + self._up.nbytes

    def __call__(self, x: Array) -> Array:
        """Return (..., out_features) float32 of (..., in_features) float32.

        Small results lie in memory that this thread's next call uses again.
        """
        rows = _checks.rows_of(x)
        with np.errstate(all="ignore"):
            # One product over all rows: NumPy would loop over small ones along leading axes.
            y = _scratch(len(rows), self._up.shape[1])
            np.matmul(np.matmul(rows, self._down), self._up, out=y)
            if self._bias is not None:
                y += self._bias
        return y.reshape(*x.shape[:-1], y.shape[1])


# Floats that a thread keeps at most. Two fresh arrays of 128x1536 for each call make the C library
# give memory back and fault it in again: 1.4 ms where the product takes 0.1.
_KEPT = 1 << 20
_MEMORY = threading.local()


def _scratch(rows: int, columns: int) -> Array:
    size = rows * columns
    if size > _KEPT:
        return np.empty((rows, columns), np.float32)
    kept: Array | None = getattr(_MEMORY, "kept", None)
    if kept is None or kept.size < size:
        kept = _MEMORY.kept = np.empty(size, np.float32)
    return kept[:size].reshape(rows, columns)
