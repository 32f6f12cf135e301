# SPDX-License-Identifier: Apache-2.0
"""The low-rank change of one linear layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from octavo._types import Array
from octavo.nn import SidePath


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

    def path(self) -> SidePath:
        """Return the form that runs: transposed, the scale folded into the smaller product."""
        up = np.ascontiguousarray(self.b.T) * np.float32(self.scale)
        return SidePath([np.ascontiguousarray(self.a.T), up], bias=self.bias_delta())

    def bias_delta(self) -> Array | None:
        """Return what the layer's bias changes by, (out_features,) float32, or None."""
        return None if self.bias is None else self.bias * np.float32(self.scale)
