# SPDX-License-Identifier: Apache-2.0
"""Checks and conversions around the int8 linear layer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from octavo import _backend, _checks
from octavo.nn import _state
from octavo.qtensor import QTensor, quantize

Array = NDArray[Any]

# |x - zero_point| <= 255 and |weight| <= 127.
_LARGEST_PRODUCT = 255 * 127


def quantized_weight(weight: ArrayLike) -> tuple[Array, Array]:
    """Codes (N, K) and scales (N,) of a float weight."""
    values = _checks.as_float32(weight, "weight", float64=True)
    _checks.check_shape(values, (None, None), "weight")
    _checks.check_finite(values, "weight")
    q = quantize(values, axis=0)
    return q.data, q.scale


def checked(
    codes: ArrayLike,
    scale: ArrayLike,
    bias: ArrayLike | None,
    *,
    activation: str = "none",
    symmetric: bool = False,
    input_scale: float | None = None,
    input_zero_point: int = 0,
    output_scale: float | None = None,
    output_zero_point: int = 0,
    input_multiplier: ArrayLike | None = None,
) -> tuple[Array, Array, Array | None, dict[str, Any]]:
    """Check what a layer is made of: codes, channel scales, bias, options."""
    array = _checks.as_codes(codes, "codes", (_checks.INT8,))
    _checks.check_shape(array, (None, None), "codes")
    n, k = array.shape
    _checks.check_inner(k, _LARGEST_PRODUCT, "codes")
    if array.size and array.min() < -127:
        raise ValueError("codes: expected values in [-127, 127], got -128")
    config = {
        "activation": _checks.choice(activation, "activation", _checks.ACTIVATIONS),
        "symmetric": _checks.boolean(symmetric, "symmetric"),
        **static("input", input_scale, input_zero_point),
        **static("output", output_scale, output_zero_point),
        "input_multiplier": multiplier(input_multiplier, k),
    }
    biases = None
    if bias is not None:
        biases = _state.parameter(bias, (n,), "bias")
    return np.ascontiguousarray(array), channel_scale(scale, n), biases, config


def wrap(y: Array, config: dict[str, Any]) -> Array | QTensor:
    """Return the result as it is, or as a QTensor if it was requantized."""
    scale = config["output_scale"]
    return y if scale is None else QTensor(y, np.float32(scale), config["output_zero_point"])


def wrapping(call: Any, config: dict[str, Any]) -> Any:
    """`call` with its result wrapped; holds no layer, so that no cycle keeps weights alive."""

    def wrapped(x: Any, residual: Any, addend: Any) -> Any:
        y = call(x, residual, addend)
        return None if y is None else wrap(y, config)

    return wrapped


def float_input(x: ArrayLike, n: int, k: int) -> tuple[Array, tuple[int, ...]]:
    """Check what a layer of shape (n, k) reads as float32; return it, and the result's shape."""
    array = _checks.as_float32(x, "x")
    if array.ndim == 0 or array.shape[-1] != k:
        raise ValueError(f"x: expected shape (..., {k}), got {array.shape}")
    return array, (*array.shape[:-1], n)


def activated(y: Array, activation: str, residual: Array | None, shape: tuple[int, ...]) -> Array:
    """Apply an activation to finished sums, in place; add the residual, of the result's `shape`."""
    if activation != "none":
        flat = y.reshape(-1)
        _backend.backend.activation(flat, activation, flat)
    y = y.reshape(shape)
    if residual is not None:
        y += residual
    return y


def added(
    residual: ArrayLike | None, addend: ArrayLike | None, shape: tuple[int, ...]
) -> tuple[Array | None, Array | None]:
    """Check what is added to an output of `shape`."""
    pairs = ((residual, "residual"), (addend, "addend"))
    first, second = (None if v is None else _checked_addition(v, n, shape) for v, n in pairs)
    return first, second


def added_rows(
    residual: ArrayLike | None, addend: ArrayLike | None, shape: tuple[int, ...]
) -> tuple[Array | None, Array | None]:
    """Do the same, and return rows of one axis."""
    first, second = added(residual, addend, shape)
    return (
        None if first is None else _checks.rows_of(first),
        None if second is None else _checks.rows_of(second),
    )


def _checked_addition(values: ArrayLike, name: str, shape: tuple[int, ...]) -> Array:
    array = _checks.as_float32(values, name)
    _checks.check_shape(array, shape, name)
    return array


def static(side: str, scale: Any, zero_point: Any) -> dict[str, Any]:
    """Check the fixed parameters of one side; a zero point without a scale means nothing."""
    point = _checks.integer(zero_point, f"{side}_zero_point", -128, 127)
    if scale is not None:
        scale = _checks.scalar_scale(scale, f"{side}_scale")
    elif point:
        raise ValueError(f"{side}_zero_point: expected 0 without {side}_scale, got {point}")
    return {f"{side}_scale": scale, f"{side}_zero_point": point}


def multiplier(values: ArrayLike | None, k: int) -> Array | None:
    """Check what the columns of the input are multiplied by: (K,), or None."""
    if values is None:
        return None
    array = _state.parameter(values, (k,), "input_multiplier")
    if not (np.isfinite(array) & (array >= 0)).all():
        bad = array[~(np.isfinite(array) & (array >= 0))][0]
        raise ValueError(f"input_multiplier: expected finite values of at least 0, got {bad}")
    return array


def channel_scale(scale: ArrayLike, n: int) -> Array:
    """Return the weight scale as (N,); one value stands for all channels."""
    array = _checks.as_float32(scale, "scale", float64=True)
    if array.shape not in ((n,), (n, 1), (), (1,)):
        raise ValueError(f"scale: expected shape ({n},) or ({n}, 1), got {array.shape}")
    _checks.check_scale(array, "scale")
    return np.ascontiguousarray(np.broadcast_to(array.reshape(-1), (n,)))


def rows_of_codes(x: QTensor) -> tuple[Array, Array, Array]:
    """Codes (M, K), scales (M,) and zero points (M,) of a QTensor with one scale per row or one."""
    if x.dtype != np.int8:
        raise TypeError(f"x: expected a QTensor of int8, got {x.dtype}")
    k = x.shape[-1]
    codes = np.ascontiguousarray(x.data).reshape(math.prod(x.shape[:-1]), k)
    per_row = (
        x.scale.ndim == 0
        or x.axis is None
        or (x.block_size is None and x.axis == 0 and x.ndim == 2)
        or (x.block_size is not None and x.axis == x.ndim - 1 and x.block_size >= k)
    )
    if not per_row:
        raise ValueError(f"x: expected one scale, or one per row, got {x!r}")
    rows = (codes.shape[0],)
    scales = np.broadcast_to(x.scale.reshape(-1), rows).astype(np.float32)
    return codes, scales, np.broadcast_to(x.zero_point.reshape(-1), rows).astype(np.int32)
