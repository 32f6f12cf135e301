# SPDX-License-Identifier: Apache-2.0
"""Argument checks: each returns the argument in the form a backend takes, or says what is wrong.

Errors name the argument, what was expected and what came: TypeError for a wrong kind of object or
dtype, ValueError for a wrong shape or value.
"""

from __future__ import annotations

import functools
import math
import numbers
import operator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from octavo._float_mode import in_default_mode
from octavo._text import shown
from octavo._types import Array

ACTIVATIONS = ("none", "relu", "gelu", "gelu_tanh", "silu", "tanh")
INT8 = np.dtype(np.int8)
INT32 = np.dtype(np.int32)
BYTES = (INT8, np.dtype(np.uint8))
CODES = (*BYTES, np.dtype(np.int16), np.dtype(np.uint16))
LIMITS = {dtype: (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)) for dtype in (*CODES, INT32)}

_FLOATS = (np.dtype(np.float32), np.dtype(np.float16))
_INT32_HIGHEST = 2**31 - 1


def describe(x: object) -> str:
    """Say what to call an argument in an error message."""
    if isinstance(x, np.ndarray):
        return f"an array of {x.dtype} with shape {x.shape}"
    return type(x).__name__


def as_array(x: object, name: str) -> Array:
    """Any array-like (array, DLPack, buffer, nested list) as a native-order aligned array.

    Copies only when the byte order or the alignment asks for it.
    """
    if type(x) is not np.ndarray:
        x = _convert(x, name)
    if x.dtype.hasobject:
        raise TypeError(f"{name}: expected numbers, got an array of Python objects")
    if not x.dtype.isnative:
        return x.astype(x.dtype.newbyteorder("="))
    return x if x.flags.aligned else x.copy()


def _convert(x: object, name: str) -> Array:
    if x is None or isinstance(x, (str, bytes, bytearray, set, frozenset, dict)):
        raise TypeError(f"{name}: expected an array, got {type(x).__name__}")
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name}: expected an array, got a masked array; fill or drop the mask")
    try:
        if hasattr(x, "__dlpack__") and not hasattr(x, "__array__"):
            return np.from_dlpack(x)
        return np.asarray(x)
    except Exception as error:
        raise TypeError(f"{name}: expected an array, got {type(x).__name__} ({error})") from error


def is_typed(x: object) -> bool:
    """Whether `x` carries a dtype of its own, unlike Python numbers and lists."""
    return hasattr(x, "dtype") or hasattr(x, "__dlpack__") or isinstance(x, memoryview)


def as_float(x: object, name: str, *, float64: bool = False) -> Array:
    """Return a float32 or float16 array; Python numbers and lists become float32.

    bfloat16 (the `ml_dtypes` dtype) becomes float32, which is exact.  float64 arrays are refused
    unless `float64` says that rounding them is fine here.
    """
    array = as_array(x, name)
    dtype = array.dtype
    if dtype in _FLOATS:
        return array
    if dtype.name == "bfloat16":
        return array.astype(np.float32)
    rounds = dtype == np.float64 and float64
    if rounds or (dtype.kind in "fiu" and not is_typed(x)):
        return rounded(array, np.float32)
    hint = "; convert it with .astype(numpy.float32)" if dtype.kind in "fiub" else ""
    raise TypeError(f"{name}: expected float32 or float16, got {dtype}{hint}")


@in_default_mode
def rounded(x: Array, dtype: DTypeLike) -> Array:
    """Return numbers in a narrower float dtype, rounded to nearest."""
    with np.errstate(over="ignore", under="ignore"):
        return x.astype(dtype)


@functools.lru_cache(maxsize=256)
def float32_value(number: float) -> float:
    """Round a Python number to a float32, given as a Python number."""
    return float(rounded(np.array(number), np.float32))


def as_float32(x: object, name: str, *, float64: bool = False) -> Array:
    """Return a float32 array; float16 widens exactly."""
    array = as_float(x, name, float64=float64)
    return array if array.dtype == _FLOATS[0] else array.astype(np.float32)


def as_codes(x: object, name: str, dtypes: tuple[np.dtype[Any], ...]) -> Array:
    """Return an array of one of the integer `dtypes`, never converted."""
    array = as_array(x, name)
    if array.dtype not in dtypes:
        raise TypeError(f"{name}: expected {' or '.join(map(str, dtypes))}, got {array.dtype}")
    return array


def as_bool(x: Array) -> Array:
    """Return which elements are not zero, as bool in C order.

    A bool array made of foreign memory (``np.frombuffer``, a view) may hold any byte; what counts
    its true elements by adding bytes up would go wrong.
    """
    return np.not_equal(x.view(np.uint8) if x.dtype == np.bool_ else x, 0, order="C")


def as_ids(x: object, name: str, *, own: bool = False) -> Array:
    """Return an integer array of any width as int64.

    With `own` in memory that nobody else has: numbers that are read through once they are checked
    must not change in between, whatever another thread does to the caller's array.
    """
    array = as_array(x, name)
    empty_list = array.size == 0 and not is_typed(x)
    if array.dtype.kind not in "iu" and not empty_list:
        raise TypeError(f"{name}: expected integers, got {array.dtype}")
    if array.dtype == np.uint64 and array.size and array.max() > np.uint64(2**63 - 1):
        raise ValueError(f"{name}: expected values below 2**63, got {array.max()}")
    return array.astype(np.int64, copy=own)


def as_points(x: object, name: str, dtype: np.dtype[Any]) -> Array:
    """Return zero points as int64, all of them in the range of `dtype`."""
    points = as_ids(x, name, own=True)
    low, high = LIMITS[dtype]
    if points.size == 1 and low <= points.item() <= high:
        return points
    if points.size and not (low <= points.min() and points.max() <= high):
        worst = points.min() if points.min() < low else points.max()
        raise ValueError(f"{name}: expected values in the range of {dtype}, got {worst}")
    return points


def rows_of(x: Array) -> Array:
    """`x` (..., K) as (M, K) rows with a contiguous last axis; copies only if it has to."""
    if x.ndim != 2:
        x = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    return unit_stride(x)


def unit_stride(x: Array) -> Array:
    """Return `x` with a contiguous last axis; a copy only if it has to be."""
    if x.strides[-1] == x.itemsize or x.shape[-1] == 1:
        return x
    return np.ascontiguousarray(x)


def check_shape(x: Array, shape: tuple[int | None, ...], name: str) -> None:
    """None in `shape` stands for any size."""
    fits = x.shape == shape or (
        x.ndim == len(shape)
        and all(want in (None, got) for want, got in zip(shape, x.shape, strict=True))
    )
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        comma = "," if len(shape) == 1 else ""
        raise ValueError(f"{name}: expected shape ({wanted}{comma}), got {x.shape}")


def check_finite(x: Array, name: str) -> None:
    """Refuse NaN and infinities."""
    if not np.isfinite(x).all():
        raise ValueError(f"{name}: expected finite values, got NaN or infinity")


def check_scale(scale: Array, name: str, *, nan: bool = False) -> None:
    """Scales are positive and finite; NaN passes only where it marks a row without a value."""
    if scale.size == 1 and 0 < scale.item() < math.inf:
        return
    # By their bits: a thread that flushes subnormals to zero finds none of them above 0.
    bits = np.ascontiguousarray(scale).view(f"i{scale.itemsize}").reshape(scale.shape)
    infinity = np.array(np.inf, scale.dtype).view(bits.dtype)
    good = (bits > 0) & (bits < infinity)
    if nan:
        good |= np.isnan(scale)
    if not good.all():
        raise ValueError(f"{name}: expected positive finite values, got {scale[~good].flat[0]}")


def only_value(value: object, name: str) -> Any:
    """Return the only element of an array of size 1."""
    array = as_array(value, name)
    if array.size != 1:
        raise ValueError(f"{name}: expected one value, got shape {array.shape}")
    return array.reshape(()).item()


def scalar_scale(value: object, name: str) -> float:
    """Return a single positive scale, rounded to float32, as a Python float."""
    array = as_float32(value, name, float64=True)
    if array.size != 1:
        raise ValueError(f"{name}: expected one value, got shape {array.shape}")
    check_scale(array.reshape(1), name)
    return float(array.reshape(()))


def integer(value: object, name: str, low: int, high: int = _INT32_HIGHEST) -> int:
    """Return an integer in [low, high]; a one-element array counts."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(())[()]
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected an integer, got bool")
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {describe(value)}") from None
    if not low <= number <= high:
        raise ValueError(f"{name}: expected a value in [{low}, {high}], got {shown(number)}")
    return number


def real(value: object, name: str, interval: str = "") -> float:
    """Return a finite real number; in an interval, such as "[0, 1)" or "(0, inf)", if given one."""
    if type(value) is not float and (
        isinstance(value, bool) or not isinstance(value, (numbers.Real, np.number))
    ):
        raise TypeError(f"{name}: expected a number, got {describe(value)}")
    try:
        number = float(value)
    except OverflowError:  # an integer beyond all floats
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name}: expected a finite number, got {number}")
    if interval:
        low, high = map(float, interval[1:-1].split(", "))
        at_low = interval[0] == "[" and number == low
        at_high = interval[-1] == "]" and number == high
        if not (low < number < high or at_low or at_high):
            raise ValueError(f"{name}: expected a value in {interval}, got {number}")
    return number


def boolean(value: object, name: str) -> bool:
    """Return True or False, not something that happens to be truthy."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {describe(value)}")
    return bool(value)


def choice(value: object, name: str, choices: tuple[str, ...]) -> str:
    """One of a few words."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a string, got {describe(value)}")
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {shown(value)}")
    return value


def function(value: object, name: str) -> None:
    """Refuse what can neither be called nor is None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name}: expected a function, got {type(value).__name__}")


def axis_of(axis: object, ndim: int) -> int:
    """Return a possibly negative axis as a non-negative one."""
    if ndim == 0:
        raise ValueError(f"axis: expected None for an array without axes, got {shown(axis)}")
    return integer(axis, "axis", -ndim, ndim - 1) % ndim


def inner_bound(largest_product: int) -> int:
    """Return the largest K for which a sum of K such products fits int32."""
    return _INT32_HIGHEST // largest_product if largest_product else _INT32_HIGHEST


LARGEST_PRODUCT = 255 * 128
"""Of an int8 layer: |x - zero_point| is at most 255, |weight| at most 128."""


def check_inner(k: int, largest_product: int, what: str) -> None:
    """Refuse a K for which the int32 accumulation might not be exact."""
    bound = inner_bound(largest_product)
    if k > bound:
        raise ValueError(
            f"{what}: K = {k} is over {bound}, the bound up to which int32 accumulation is exact"
        )
