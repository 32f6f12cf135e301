# SPDX-License-Identifier: Apache-2.0
"""Checked functions of decoders: rotary positions, gates."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from octavo import _backend, _checks
from octavo._ops.floats import with_an_axis
from octavo._results import FLOAT32, result
from octavo._types import Array

GATES = ("gelu", "gelu_tanh", "relu", "silu", "tanh")


def rotary_embedding(
    x: ArrayLike,
    cosine: ArrayLike,
    sine: ArrayLike,
    positions: ArrayLike,
    heads: int,
    *,
    out: Array | None = None,
) -> Array:
    """Turn pairs of values by angles that depend on the position (RoPE; Su et al., 2021).

    Values i and i + P of a head are one pair, as in transformers; what lies behind the first 2 P
    values of a head stays as it is.

    Parameters
    ----------
    x : float32 array, shape (..., T, heads * D)
    cosine, sine : float32 arrays, shape (positions, P)
        Of the angles of each position and pair; 2 P is at most D.
    positions : int64 array, shape (..., T) or (T,)
        The row of the tables for each token.
    heads : int
    out : float32 ndarray, the shape of `x`, optional
        Takes the result, and is returned.  C-contiguous and writable, in memory of its own, or `x`
        itself.

    Returns
    -------
    float32 ndarray, the shape of `x`

    Raises
    ------
    TypeError, ValueError
        If an argument has another dtype or shape, or the tables have no row for a position.

    Examples
    --------
    >>> import octavo.functional as F
    >>> F.rotary_embedding([[1.0, 2.0]], [[0.0]], [[1.0]], [0], heads=1)
    array([[-2.,  1.]], dtype=float32)
    """
    x_array = with_an_axis(x, "x")
    if x_array.ndim < 2:
        raise ValueError(f"x: expected at least two axes, got {x_array.ndim}")
    count = _checks.integer(heads, "heads", 1)
    width = x_array.shape[-1]
    if width % count:
        raise ValueError(f"heads: expected a divisor of {width}, the last axis of x, got {count}")
    tables = [_table(cosine, "cosine", width // count), _table(sine, "sine", width // count)]
    _checks.check_shape(tables[1], tables[0].shape, "sine")
    places = _places(positions, x_array.shape[:-1], len(tables[0]))
    rows = _checks.rows_of(x_array)
    inputs = {"x": x_array, "cosine": tables[0], "sine": tables[1], "positions": places}
    y = result(out, x_array.shape, FLOAT32, inputs, ("x",))
    _backend.backend.rotary(rows, *tables, places, count, y.reshape(rows.shape))
    return y


def gated(
    gate: ArrayLike, x: ArrayLike, activation: str = "silu", *, out: Array | None = None
) -> Array:
    """``activation(gate) * x``, element by element: the gate of SwiGLU and its kin (Shazeer, 2020).

    Parameters
    ----------
    gate, x : float32 arrays of one shape
    activation : str
        "gelu", "gelu_tanh", "relu", "silu" or "tanh".
    out : float32 ndarray, the shape of `x`, optional
        Takes the result, and is returned.  C-contiguous and writable, in memory of its own, or
        `gate` or `x` itself.

    Returns
    -------
    float32 ndarray, the shape of `x`

    Raises
    ------
    TypeError, ValueError
        If an argument has another dtype or shape, or the activation is unknown.

    Examples
    --------
    >>> import octavo.functional as F
    >>> F.gated([-1.0, 3.0], [2.0, 2.0], "relu")
    array([0., 6.], dtype=float32)
    """
    _checks.choice(activation, "activation", GATES)
    gates = with_an_axis(gate, "gate")
    x_array = _checks.as_float32(x, "x")
    _checks.check_shape(x_array, gates.shape, "x")
    rows = _checks.rows_of(gates)
    y = result(out, gates.shape, FLOAT32, {"gate": gates, "x": x_array}, ("gate", "x"))
    _backend.backend.gated(rows, _checks.rows_of(x_array), activation, y.reshape(rows.shape))
    return y


def _table(table: ArrayLike, name: str, width: int) -> Array:
    array = np.ascontiguousarray(_checks.as_float32(table, name))
    if array.ndim != 2 or 2 * array.shape[1] > width:
        raise ValueError(
            f"{name}: expected shape (positions, at most {width // 2} pairs), got {array.shape}"
        )
    return array


def _places(positions: ArrayLike, shape: tuple[int, ...], rows: int) -> Array:
    places = _checks.as_ids(positions, "positions", own=True)
    if places.shape not in (shape, shape[-1:]):
        raise ValueError(f"positions: expected shape {shape} or {shape[-1:]}, got {places.shape}")
    if places.size and not 0 <= places.min() <= places.max() < rows:
        raise ValueError(
            f"positions: expected 0 to {rows - 1}, the rows of the tables, "
            f"got {places.min()} to {places.max()}"
        )
    return np.ascontiguousarray(np.broadcast_to(places, shape)).reshape(-1)
