# SPDX-License-Identifier: Apache-2.0
"""Checked float32 functions: activations, softmax, norms."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from octavo import _backend, _checks
from octavo._results import FLOAT32, result
from octavo._types import Array


def gelu(x: ArrayLike, approximate: str = "none", *, out: Array | None = None) -> Array:
    """GELU of a float32 array, element by element.

    `approximate` is "none" for the definition with erf, or "tanh".  `out`, if given, takes the
    result and is returned: float32 of the shape of `x`, C-contiguous and writable, in memory of its
    own or `x` itself.

    Examples
    --------
    >>> import octavo.functional as F
    >>> F.gelu([0.0, 100.0])
    array([  0., 100.], dtype=float32)
    """
    _checks.choice(approximate, "approximate", ("none", "tanh"))
    return activation(x, "gelu" if approximate == "none" else "gelu_tanh", out)


def silu(x: ArrayLike, *, out: Array | None = None) -> Array:
    """``x * sigmoid(x)`` of a float32 array, element by element; `out` as for `gelu`.

    Examples
    --------
    >>> import octavo.functional as F
    >>> F.silu([0.0, 80.0])
    array([ 0., 80.], dtype=float32)
    """
    return activation(x, "silu", out)


def relu(x: ArrayLike, *, out: Array | None = None) -> Array:
    """``max(x, 0)`` of a float32 array, element by element; NaN stays NaN; `out` as for `gelu`.

    Examples
    --------
    >>> import octavo.functional as F
    >>> F.relu([-1.0, 2.0])
    array([0., 2.], dtype=float32)
    """
    return activation(x, "relu", out)


def tanh(x: ArrayLike, *, out: Array | None = None) -> Array:
    """Hyperbolic tangent of a float32 array, element by element; `out` as for `gelu`.

    Examples
    --------
    >>> import octavo.functional as F
    >>> F.tanh([0.0, 50.0])
    array([0., 1.], dtype=float32)
    """
    return activation(x, "tanh", out)


def activation(x: ArrayLike, name: str, out: Array | None = None) -> Array:
    """Apply the activation called `name`, which the caller has checked, to a float32 array."""
    x_array = np.asarray(_checks.as_float32(x, "x"), order="C")
    y = result(out, x_array.shape, FLOAT32, {"x": x_array}, ("x",))
    _backend.backend.activation(x_array.reshape(-1), name, y.reshape(-1))
    return y


def softmax(x: ArrayLike, axis: int = -1, *, out: Array | None = None) -> Array:
    """Softmax of a float32 array along `axis`; `out` as for `gelu`.

    Examples
    --------
    >>> import octavo.functional as F
    >>> F.softmax([[1.0, 1.0]])
    array([[0.5, 0.5]], dtype=float32)
    """
    x_array = _checks.as_float32(x, "x")
    axis = _checks.axis_of(axis, x_array.ndim)
    wanted = (x_array.shape, FLOAT32, {"x": x_array}, ("x",))
    if axis == x_array.ndim - 1:
        y, rows = result(out, *wanted), _checks.rows_of(x_array)
        _backend.backend.softmax(rows, y.reshape(rows.shape))
        return y
    target = None if out is None else result(out, *wanted)
    turned = np.moveaxis(softmax(np.moveaxis(x_array, axis, -1)), -1, axis)
    if target is None:
        return turned
    target[...] = turned
    return target


def layer_norm(
    x: ArrayLike,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
    residual: ArrayLike | None = None,
    *,
    out: Array | None = None,
) -> Array:
    """Layer normalisation of ``x + residual`` over the last axis.

    Parameters
    ----------
    x : float32 array, shape (..., N)
    weight, bias : float32 arrays, shape (N,), optional
    eps : float
        Added to the variance; not negative.
    residual : float32 array, the shape of `x`, optional
    out : float32 ndarray, the shape of `x`, optional
        Takes the result, and is returned.  C-contiguous and writable, in memory of its own, or `x`
        or `residual` itself.

    Returns
    -------
    float32 ndarray, the shape of `x`

    Examples
    --------
    >>> import octavo.functional as F
    >>> F.layer_norm([[1.0, 3.0]], eps=0.0)
    array([[-1.,  1.]], dtype=float32)
    """
    x_array = with_an_axis(x, "x")
    width = x_array.shape[-1]
    weights = _vector(weight, width, "weight")
    biases = _vector(bias, width, "bias")
    epsilon = _epsilon(eps)
    added = rows_like(residual, x_array.shape, "residual")
    rows = _checks.rows_of(x_array)
    inputs = {"x": x_array, "weight": weights, "bias": biases, "residual": added}
    y = result(out, x_array.shape, FLOAT32, inputs, ("x", "residual"))
    _backend.backend.layer_norm(rows, weights, biases, epsilon, added, y.reshape(rows.shape))
    return y


def rms_norm(
    x: ArrayLike,
    weight: ArrayLike | None = None,
    eps: float = 1e-6,
    addend: ArrayLike | None = None,
    *,
    out: Array | None = None,
) -> Array:
    """Root mean square normalisation over the last axis (Zhang and Sennrich, 2019).

    ``x / sqrt(mean(x**2) + eps) * weight + addend``.

    Parameters
    ----------
    x : float32 array, shape (..., N)
    weight : float32 array, shape (N,), optional
    eps : float
        Added to the mean square; not negative.
    addend : float32 array, the shape of `x`, optional
    out : float32 ndarray, the shape of `x`, optional
        Takes the result, and is returned.  C-contiguous and writable, in memory of its own, or `x`
        or `addend` itself.

    Returns
    -------
    float32 ndarray, the shape of `x`

    Raises
    ------
    TypeError, ValueError
        If an argument has another dtype or shape, or `eps` is negative or no number.

    Examples
    --------
    >>> import octavo.functional as F
    >>> F.rms_norm([[3.0, -3.0]], eps=0.0)
    array([[ 1., -1.]], dtype=float32)
    """
    x_array = with_an_axis(x, "x")
    weights = _vector(weight, x_array.shape[-1], "weight")
    epsilon = _epsilon(eps)
    added = rows_like(addend, x_array.shape, "addend")
    rows = _checks.rows_of(x_array)
    inputs = {"x": x_array, "weight": weights, "addend": added}
    y = result(out, x_array.shape, FLOAT32, inputs, ("x", "addend"))
    _backend.backend.rms_norm(rows, weights, epsilon, added, y.reshape(rows.shape))
    return y


def with_an_axis(x: ArrayLike, name: str) -> Array:
    """Return float32 with an axis to work along."""
    array = _checks.as_float32(x, name)
    if array.ndim == 0:
        raise ValueError(f"{name}: expected at least one axis, got a scalar")
    return array


def rows_like(x: ArrayLike | None, shape: tuple[int, ...], name: str) -> Array | None:
    """Return float32 rows of what must have a shape, if it is there."""
    if x is None:
        return None
    array = _checks.as_float32(x, name)
    _checks.check_shape(array, shape, name)
    return _checks.rows_of(array)


def _epsilon(eps: float) -> float:
    epsilon = _checks.float32_value(_checks.real(eps, "eps"))
    if epsilon < 0:
        raise ValueError(f"eps: expected a value of at least 0, got {epsilon}")
    return epsilon


def _vector(x: ArrayLike | None, size: int, name: str) -> Array | None:
    if x is None:
        return None
    array = _checks.as_float32(x, name)
    _checks.check_shape(array, (size,), name)
    return np.ascontiguousarray(array)
