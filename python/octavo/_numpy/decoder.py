# SPDX-License-Identifier: Apache-2.0
"""What decoders compute between linear layers and attention; a fixed order of operations."""

from __future__ import annotations

import numpy as np

from octavo._numpy.float_ops import activation, row_sum_of_squares
from octavo._numpy.fused import fused
from octavo._types import Array

_F = np.float32
_ONE = _F(1)


def rms_norm(x: Array, weight: Array | None, eps: float, addend: Array | None, out: Array) -> None:
    """Scale the rows of `x` (M, N) to a mean square of 1, and by `weight`; add."""
    with np.errstate(all="ignore"):
        mean: Array = np.divide(row_sum_of_squares(x), _F(x.shape[1]))
        v = x * (_ONE / np.sqrt(mean + _F(eps)))[:, None]
        factor = _ONE if weight is None else weight
        # -0 changes nothing, not even the sign of a zero.
        out[...] = fused(v, factor, _F(-0.0) if addend is None else addend)


def rotary(x: Array, cosine: Array, sine: Array, positions: Array, heads: int, out: Array) -> None:
    """Turn pairs of values i and i + P of each head of `x` (M, H * D); the tables are (T, P)."""
    pairs = cosine.shape[1]
    rows = x.reshape(len(x), heads, x.shape[1] // heads)
    first, second, rest = np.split(rows, (pairs, 2 * pairs), axis=2)
    c, s = (table[positions][:, None] for table in (cosine, sine))
    with np.errstate(all="ignore"):
        turned = fused(first, c, -(second * s)), fused(second, c, first * s), rest
    out[...] = np.concatenate(turned, axis=2).reshape(x.shape)


def gated(gate: Array, x: Array, name: str, out: Array) -> None:
    """Out = name(gate) * x, all (M, N)."""
    with np.errstate(all="ignore"):
        active = np.empty(gate.shape, np.float32)
        activation(gate, name, active)
        np.multiply(active, x, out=out)
