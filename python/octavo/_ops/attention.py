# SPDX-License-Identifier: Apache-2.0
"""Checked attention: in float32, and in int8."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from octavo import _backend, _checks
from octavo._results import FLOAT32, result
from octavo._types import Array

_LARGEST_HEAD = 1040
"""Values of a head in int8: 1040 * 127 * 127 is below 2**24."""


def attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    mask: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    heads: int,
    scale: float | None = None,
    offsets: ArrayLike | None = None,
    out: Array | None = None,
) -> Array:
    """Scaled dot-product attention over heads that lie side by side in the last axis.

    Parameters
    ----------
    q : float32 array, shape (B, T_q, H * D)
    k, v : float32 arrays, shape (B, T_k, H * D)
    mask : bool or integer array, shape (B, T_k), optional
        Keys that are false (0) take no part, so padding never changes a result.  Without a valid
        key the result is 0.
    bias : float32 array, shape (H or 1, T_q, T_k), optional
        Added to the scaled scores before the softmax, such as a bias of relative positions.
    heads : int
        H.
    scale : float, optional
        Default ``1 / sqrt(D)``.
    offsets : integer array, shape (S + 1,), optional
        Packed sequences: B is 1, q, k and v have the same rows, and rows offsets[s] to before
        offsets[s + 1] attend to each other alone.  A bias is (H or 1, T, T) then, T the length of
        the longest, of which others take the beginning.
    out : float32 ndarray, the shape of `q`, optional
        Takes the result, and is returned.  C-contiguous and writable, in memory of its own.

    Returns
    -------
    float32 ndarray, shape (B, T_q, H * D)

    Examples
    --------
    >>> import numpy as np, octavo.functional as F
    >>> one = np.ones((1, 2, 4), np.float32)
    >>> F.attention(one, one, one, mask=[[1, 0]], heads=2)[0, 0]
    array([1., 1., 1., 1.], dtype=float32)
    """
    operands = _operands(q, k, v, heads, heads)
    factor = _scale(scale, operands)
    beside = _beside(operands, mask, bias, offsets)
    y = _result(out, operands, beside)
    if operands.is_empty:
        y[...] = 0
        return y
    rows = (operands.q, operands.k, operands.v)
    _backend.backend.attention(*rows, *beside, operands.heads, factor, y)
    return y


def attention_int8(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    mask: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    heads: int,
    kv_heads: int | None = None,
    key_ranges: ArrayLike | None = None,
    scale: float | None = None,
    offsets: ArrayLike | None = None,
    out: Array | None = None,
) -> Array:
    """Scaled dot-product attention with 8-bit codes of q, k, v and of the softmax's weights.

    Each row of q, k and v (a token and head) is quantized symmetrically, with a scale of its own;
    both products are exact.  Keys come in blocks of 512, whose weights are codes from 0 to 255
    relative to the block's largest: ``docs/numerics.md`` has the definition.  With the same keys, a
    query's result does not depend on how many queries are asked at once.

    Parameters
    ----------
    q : float32 array, shape (B, T_q, H * D)
        D is at most 1040.
    k, v : float32 arrays, shape (B, T_k, H_kv * D)
    mask, bias
        As for `attention`.
    heads : int
        H.
    kv_heads : int, optional
        H_kv, a divisor of H: neighbouring heads of q share one of k and v.  Default: H.
    key_ranges : integer array, shape (T_q, 2), optional
        The keys that each query sees, from the first to before the last; of a
        causal window, ``[i - 63, i + 1]``.  A query that sees none gives 0.  Default: all.
    scale : float, optional
        At least 0; default ``1 / sqrt(D)``.
    offsets, out
        As for `attention`; key_ranges count from the beginning of each sequence.

    Returns
    -------
    float32 ndarray, shape (B, T_q, H * D)

    Raises
    ------
    TypeError, ValueError
        For an argument of another type or shape; the message names it.

    Examples
    --------
    >>> import numpy as np, octavo.functional as F
    >>> one = np.ones((1, 2, 4), np.float32)
    >>> F.attention_int8(one, one, one, heads=2, key_ranges=[[0, 1], [0, 0]])[0]
    array([[1., 1., 1., 1.],
           [0., 0., 0., 0.]], dtype=float32)
    """
    operands = _operands(q, k, v, heads, heads if kv_heads is None else kv_heads)
    if operands.d > _LARGEST_HEAD:
        raise ValueError(f"q: expected heads of at most {_LARGEST_HEAD} values, got {operands.d}")
    factor = _scale(scale, operands)
    if factor < 0:
        raise ValueError(f"scale: expected at least 0, got {scale}")
    beside = _beside(operands, mask, bias, offsets)
    seen = None if key_ranges is None else _key_ranges(key_ranges, operands)
    y = _result(out, operands, beside)
    if operands.is_empty:
        y[...] = 0
        return y
    _backend.backend.attention_int8(
        operands.q, operands.k, operands.v, beside.mask, beside.bias, seen, beside.offsets,
        operands.heads, operands.kv_heads, factor, y,
    )  # fmt: skip
    return y


class _Operands(NamedTuple):
    q: Array
    k: Array
    v: Array
    heads: int
    kv_heads: int

    @property
    def d(self) -> int:
        """Values of a head."""
        return int(self.q.shape[2]) // self.heads

    @property
    def is_empty(self) -> bool:
        return self.q.size == 0 or self.k.size == 0


class _Beside(NamedTuple):
    """What both functions take beside rows and heads."""

    mask: Array | None
    bias: Array | None
    offsets: Array | None


def _beside(
    operands: _Operands,
    mask: ArrayLike | None,
    bias: ArrayLike | None,
    offsets: ArrayLike | None,
) -> _Beside:
    valid = None if mask is None else _key_mask(mask, operands)
    starts = None if offsets is None else _offsets(offsets, operands)
    added = None if bias is None else _score_bias(bias, operands, starts)
    return _Beside(valid, added, starts)


def _result(out: object, operands: _Operands, beside: _Beside) -> Array:
    """Return where the result goes."""
    inputs = {"q": operands.q, "k": operands.k, "v": operands.v}
    read = {**inputs, "mask": beside.mask, "bias": beside.bias}
    return result(out, operands.q.shape, FLOAT32, read)


def _operands(q: ArrayLike, k: ArrayLike, v: ArrayLike, heads: int, kv_heads: int) -> _Operands:
    queries, keys, values = _tokens(q, "q"), _tokens(k, "k"), _tokens(v, "v")
    heads = _checks.integer(heads, "heads", 1)
    kv_heads = _checks.integer(kv_heads, "kv_heads", 1)
    batch, _, width = queries.shape
    if heads % kv_heads:
        raise ValueError(f"kv_heads: expected a divisor of {heads} heads, got {kv_heads}")
    if width % heads:
        raise ValueError(f"heads: expected a divisor of the width {width}, got {heads}")
    _checks.check_shape(keys, (batch, None, width // heads * kv_heads), "k")
    _checks.check_shape(values, keys.shape, "v")
    return _Operands(queries, keys, values, heads, kv_heads)


def _tokens(x: ArrayLike, name: str) -> Array:
    array = _checks.as_float32(x, name)
    if array.ndim != 3:
        raise ValueError(f"{name}: expected shape (B, T, H * D), got {array.shape}")
    return _checks.unit_stride(array)


def _scale(scale: float | None, operands: _Operands) -> float:
    if scale is None:
        scale = 1.0 / math.sqrt(operands.d) if operands.d else 1.0
    return _checks.float32_value(_checks.real(scale, "scale"))


def _offsets(offsets: ArrayLike, operands: _Operands) -> Array:
    array: Array = np.ascontiguousarray(_checks.as_ids(offsets, "offsets", own=True))
    _checks.check_shape(array, (None,), "offsets")
    batch, rows, _ = operands.q.shape
    if batch != 1 or operands.k.shape[1] != rows:
        raise ValueError(
            "offsets: expected one batch entry and as many rows of k as of q, got "
            f"{operands.q.shape} and {operands.k.shape}"
        )
    if not len(array) or array[0] or array[-1] != rows or (array[1:] < array[:-1]).any():
        raise ValueError(f"offsets: expected ascending values from 0 to {rows}, got {array}")
    return array


def _score_bias(bias: ArrayLike, operands: _Operands, offsets: Array | None) -> Array:
    heads, queries, keys = operands.heads, operands.q.shape[1], operands.k.shape[1]
    if offsets is not None:
        queries = keys = int(np.diff(offsets).max(initial=0))
    array = _checks.as_float32(bias, "bias")
    if array.ndim != 3 or array.shape[0] not in (1, heads):
        raise ValueError(f"bias: expected shape ({heads} or 1, T_q, T_k), got {array.shape}")
    _checks.check_shape(array, (None, queries, keys), "bias")
    return np.require(array, requirements=["C", "ALIGNED"])


def _key_mask(mask: ArrayLike, operands: _Operands) -> Array:
    array = _checks.as_array(mask, "mask")
    if array.dtype.kind not in "biu":
        raise TypeError(f"mask: expected bool or integers, got {array.dtype}")
    _checks.check_shape(array, operands.k.shape[:2], "mask")
    return _checks.as_bool(array)


def _key_ranges(ranges: ArrayLike, operands: _Operands) -> Array:
    array: Array = _checks.as_ids(ranges, "key_ranges", own=True)
    _checks.check_shape(array, (operands.q.shape[1], 2), "key_ranges")
    return np.ascontiguousarray(array)
