# SPDX-License-Identifier: Apache-2.0
"""Scaled dot-product attention as a layer."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from octavo import _checks
from octavo._ops.attention import attention
from octavo._types import Array
from octavo.nn.module import Module


class Attention(Module):
    """Attention over `heads` heads that lie side by side in the last axis.

    Parameters
    ----------
    heads : int
    scale : float, optional
        Default ``1 / sqrt(width of a head)``.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> one = np.ones((1, 2, 4), np.float32)
    >>> octavo.nn.Attention(heads=2)(one, one, one, [[1, 0]]).shape
    (1, 2, 4)
    """

    def __init__(self, heads: int, scale: float | None = None) -> None:
        self.heads = _checks.integer(heads, "heads", 1)
        self.scale = None if scale is None else _checks.real(scale, "scale")

    def __call__(
        self,
        q: ArrayLike,
        k: ArrayLike,
        v: ArrayLike,
        mask: ArrayLike | None = None,
        bias: ArrayLike | None = None,
        *,
        out: Array | None = None,
    ) -> Array:
        """As `octavo.functional.attention`: (B, T_q, H * D) float32."""
        return attention(q, k, v, mask, bias, heads=self.heads, scale=self.scale, out=out)

    def config(self) -> dict[str, Any]:
        """Return the options of the layer."""
        return {"heads": self.heads, "scale": self.scale}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(heads={self.heads})"
