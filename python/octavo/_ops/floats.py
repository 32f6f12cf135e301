# SPDX-License-Identifier: Apache-2.0
"""Checked float32 functions: activations, softmax, layer norm, attention."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from octavo import _backend, _checks
from octavo._types import Array


def gelu(x: ArrayLike, approximate: str = "none") -> Array:
    """GELU of a float32 array, element by element.

    `approximate` is "none" for the definition with erf, or "tanh".

    Examples
    --------
    >>> import octavo.functional as F
    >>> F.gelu([0.0, 100.0])
    array([  0., 100.], dtype=float32)
    """
    _checks.choice(approximate, "approximate", ("none", "tanh"))
    return activation(x, "gelu" if approximate == "none" else "gelu_tanh")


def silu(x: ArrayLike) -> Array:
    """``x * sigmoid(x)`` of a float32 array, element by element.

    Examples
    --------
    >>> import octavo.functional as F
    >>> F.silu([0.0, 80.0])
    array([ 0., 80.], dtype=float32)
    """
    return activation(x, "silu")


def relu(x: ArrayLike) -> Array:
    """``max(x, 0)`` of a float32 array, element by element; NaN stays NaN.

    Examples
    --------
    >>> import octavo.functional as F
    >>> F.relu([-1.0, 2.0])
    array([0., 2.], dtype=float32)
    """
    return activation(x, "relu")


def tanh(x: ArrayLike) -> Array:
    """Hyperbolic tangent of a float32 array, element by element.

    Examples
    --------
    >>> import octavo.functional as F
    >>> F.tanh([0.0, 50.0])
    array([0., 1.], dtype=float32)
    """
    return activation(x, "tanh")


def activation(x: ArrayLike, name: str) -> Array:
    """Apply the activation called `name`, which the caller has checked, to a float32 array."""
    x_array = np.asarray(_checks.as_float32(x, "x"), order="C")
    out = np.empty(x_array.shape, np.float32)
    _backend.backend.activation(x_array.reshape(-1), name, out.reshape(-1))
    return out


def softmax(x: ArrayLike, axis: int = -1) -> Array:
    """Softmax of a float32 array along `axis`.

    Examples
    --------
    >>> import octavo.functional as F
    >>> F.softmax([[1.0, 1.0]])
    array([[0.5, 0.5]], dtype=float32)
    """
    x_array = _checks.as_float32(x, "x")
    axis = _checks.axis_of(axis, x_array.ndim)
    last = axis == x_array.ndim - 1
    rows = _checks.rows_of(x_array if last else np.moveaxis(x_array, axis, -1))
    out = np.empty(rows.shape, np.float32)
    _backend.backend.softmax(rows, out)
    if last:
        return out.reshape(x_array.shape)
    moved = x_array.shape[:axis] + x_array.shape[axis + 1 :] + rows.shape[1:]
    return np.moveaxis(out.reshape(moved), -1, axis)


def layer_norm(
    x: ArrayLike,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
    residual: ArrayLike | None = None,
) -> Array:
    """Layer normalisation of ``x + residual`` over the last axis.

    Parameters
    ----------
    x : float32 array, shape (..., N)
    weight, bias : float32 arrays, shape (N,), optional
    eps : float
        Added to the variance; not negative.
    residual : float32 array, the shape of `x`, optional

    Returns
    -------
    float32 ndarray, the shape of `x`

    Examples
    --------
    >>> import octavo.functional as F
    >>> F.layer_norm([[1.0, 3.0]], eps=0.0)
    array([[-1.,  1.]], dtype=float32)
    """
    x_array = _checks.as_float32(x, "x")
    if x_array.ndim == 0:
        raise ValueError("x: expected at least one axis, got a scalar")
    width = x_array.shape[-1]
    weights = _vector(weight, width, "weight")
    biases = _vector(bias, width, "bias")
    epsilon = _checks.float32_value(_checks.real(eps, "eps"))
    if epsilon < 0:
        raise ValueError(f"eps: expected a value of at least 0, got {epsilon}")
    added = None
    if residual is not None:
        added = _checks.as_float32(residual, "residual")
        _checks.check_shape(added, x_array.shape, "residual")
        added = _checks.rows_of(added)
    rows = _checks.rows_of(x_array)
    out = np.empty(rows.shape, np.float32)
    _backend.backend.layer_norm(rows, weights, biases, epsilon, added, out)
    return out.reshape(x_array.shape)


def _vector(x: ArrayLike | None, size: int, name: str) -> Array | None:
    if x is None:
        return None
    array = _checks.as_float32(x, name)
    _checks.check_shape(array, (size,), name)
    return np.ascontiguousarray(array)


def attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    mask: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    heads: int,
    scale: float | None = None,
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
    operands = []
    for x, name in ((q, "q"), (k, "k"), (v, "v")):
        array = _checks.as_float32(x, name)
        if array.ndim != 3:
            raise ValueError(f"{name}: expected shape (B, T, H * D), got {array.shape}")
        operands.append(_checks.unit_stride(array))
    queries, keys, values = operands
    batch, _, width = queries.shape
    _checks.check_shape(keys, (batch, None, width), "k")
    _checks.check_shape(values, keys.shape, "v")
    heads = _checks.integer(heads, "heads", 1)
    if width % heads:
        raise ValueError(f"heads: expected a divisor of the width {width}, got {heads}")
    valid = None if mask is None else _key_mask(mask, keys.shape[:2])
    added = None if bias is None else _score_bias(bias, heads, queries.shape[1], keys.shape[1])
    if scale is None:
        scale = 1.0 / math.sqrt(width // heads) if width else 1.0
    factor = _checks.float32_value(_checks.real(scale, "scale"))
    if queries.size == 0 or keys.size == 0:
        return np.zeros(queries.shape, np.float32)
    out = np.empty(queries.shape, np.float32)
    _backend.backend.attention(queries, keys, values, valid, added, heads, factor, out)
    return out


def _score_bias(bias: ArrayLike, heads: int, queries: int, keys: int) -> Array:
    array = _checks.as_float32(bias, "bias")
    if array.ndim != 3 or array.shape[0] not in (1, heads):
        raise ValueError(f"bias: expected shape ({heads} or 1, T_q, T_k), got {array.shape}")
    _checks.check_shape(array, (None, queries, keys), "bias")
    return np.require(array, requirements=["C", "ALIGNED"])


def _key_mask(mask: ArrayLike, shape: tuple[int, ...]) -> Array:
    array = _checks.as_array(mask, "mask")
    if array.dtype.kind not in "biu":
        raise TypeError(f"mask: expected bool or integers, got {array.dtype}")
    _checks.check_shape(array, shape, "mask")
    return _checks.as_bool(array)
