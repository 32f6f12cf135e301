# SPDX-License-Identifier: Apache-2.0
"""Fused multiply-add of float32 arrays: a * b + c, rounded once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from octavo._types import Array

Operand = Array | np.float32

_CHUNK = 20_000
_SMALLEST_NORMAL = np.float32(2.0**-126)
# Of the bits that float64 has more than float32: all of them, and half a step of float32.
_EXTRA_BITS = (1 << 29) - 1
_HALF_STEP = 1 << 28


def chunks(x: Array) -> Iterator[slice]:
    """Yield slices of the first axis, of about 20,000 values: what comes of them stays in L2."""
    rows = max(1, _CHUNK * len(x) // max(1, x.size))
    for start in range(0, len(x), rows):
        yield slice(start, start + rows)


def fused(a: Operand, b: Operand, c: Operand) -> Array:
    """Return a * b + c of float32 operands that broadcast, as IEEE 754 fusedMultiplyAdd."""
    shape = np.broadcast_shapes(np.shape(a), np.shape(b), np.shape(c))
    out = np.empty(shape or 1, np.float32)
    with np.errstate(all="ignore"):
        a, b, c = (np.broadcast_to(x, out.shape) for x in (a, b, c))
        _fill(a, b, c, out)
    return out.reshape(shape)


def _fill(a: Array, b: Array, c: Array, out: Array) -> None:
    if out.size <= _CHUNK:
        if out.size:
            out[...] = _round_once(a, b, c)
        return
    for chunk in chunks(out):
        part = chunk if len(out) > 1 else 0  # a row too long for a chunk goes by its own rows
        _fill(a[part], b[part], c[part], out[part])


def _round_once(a: Array, b: Array, c: Array) -> Array:
    """Round in float64 and once more, which errs only near ties and below the normal range.

    The product is exact in float64.  Where the sum is not, the second rounding is misled if it sees
    a tie that the first one made; subnormal results have their ties elsewhere.
    """
    product = np.multiply(a, b, dtype=np.float64)
    total = product + c
    result: Array = total.astype(np.float32)
    doubtful = (total.view(np.int64) & _EXTRA_BITS) == _HALF_STEP
    doubtful |= np.abs(result) <= _SMALLEST_NORMAL
    if doubtful.any():
        result[doubtful] = _round_to_odd(product[doubtful], c[doubtful]).astype(np.float32)
    return result


def _round_to_odd(product: Array, c: Array) -> Array:
    """Return product + c in float64; where it is not exact, its neighbour with an odd last bit.

    With more than two bits to spare, rounding that once more is rounding once.
    """
    total = product + c
    added = total - product
    lost = (product - (total - added)) + (c - added)
    inexact = (lost < 0) | (lost > 0)
    step = np.where((lost > 0) == (total > 0), 1, -1)
    bits = total.view(np.int64)
    bits += np.where(inexact & (bits & 1 == 0), step, 0)
    return total
