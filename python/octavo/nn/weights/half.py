# SPDX-License-Identifier: Apache-2.0
"""Weights in 16 bits: rounding to them, widening them a few rows at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from octavo import _backend, _checks
from octavo._float_mode import in_default_mode
from octavo._types import Array
from octavo.nn.options import LinearOptions
from octavo.nn.weights.base import Weight
from octavo.nn.weights.product import FloatProduct
from octavo.nn.weights.stored import Stored, StoredTensor, TensorReader

H = TypeVar("H", bound="HalfWeight")

_DTYPES = ("float16", "bfloat16")
_BLOCK_ELEMENTS = 1 << 16
"""Weights widened at a time: 256 KiB of float32, which the product then finds in L2."""


@in_default_mode
def to_half(values: ArrayLike, dtype: str = "float16", name: str = "values") -> Array:
    """Round floats to 16 bits, half to even.

    Parameters
    ----------
    values : float array, finite
    dtype : "float16" or "bfloat16"

    Returns
    -------
    float16 array; or for bfloat16 a uint16 array of its bits

    Raises
    ------
    ValueError
        If a value is not finite, or too large for float16.

    Examples
    --------
    >>> from octavo.nn.weights.half import to_half
    >>> to_half([1.0, -2.5], "bfloat16")
    array([16256, 49184], dtype=uint16)
    """
    chosen = _checks.choice(dtype, "dtype", _DTYPES)
    array = _checks.as_float(values, name, float64=True)
    _checks.check_finite(array, name)
    if chosen == "float16":
        halves: Array = np.ascontiguousarray(array.astype(np.float16))
        if not np.isfinite(halves).all():
            worst = np.abs(array).max()
            raise ValueError(f"{name}: expected values up to 65504 for float16, got {worst}")
        return halves
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    # Half to even: what is cut off rounds up from the middle on, or if the rest is odd there.
    rounded = bits + (np.uint32(0x7FFF) + ((bits >> 16) & 1))
    if ((rounded & 0x7F80_0000) == 0x7F80_0000).any():
        raise ValueError(f"{name}: expected values that round to finite bfloat16")
    return (rounded >> 16).astype(np.uint16)


class HalfWeight(Weight):
    """A matrix in 16 bits, widened a few rows at a time: no float32 copy of it ever exists.

    Parameters
    ----------
    values : float16 array, or uint16 array of the bits of bfloat16, shape (N, K)
        Kept as it is.
    """

    bits = 16

    def __init__(self, values: ArrayLike) -> None:
        array = _half(values)
        if _kind_of(array) != self.kind:
            raise TypeError(f"weight: expected {self.kind}, got {_kind_of(array)}")
        _checks.check_shape(array, (None, None), "weight")
        self.values = np.ascontiguousarray(array)
        self.shape = int(self.values.shape[0]), int(self.values.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of the matrix."""
        return int(self.values.nbytes)

    @classmethod
    def from_float(cls: type[H], values: ArrayLike) -> H:  # type: ignore[override]
        """Round a float matrix, finite."""
        return cls(to_half(values, cls.kind, "weight"))

    @classmethod
    def from_tensors(cls: type[H], tensors: Mapping[str, Any]) -> H:  # type: ignore[override]
        """Take ``weight``."""
        return cls(tensors["weight"])

    @classmethod
    def read(cls: type[H], tensors: TensorReader, shape: tuple[int, int], role: str) -> H:  # noqa: ARG003
        """Read it as it is stored."""
        return cls(tensors.half("weight", shape))

    def tensors(self) -> dict[str, Array]:
        """Return the matrix, not copied; bfloat16 as uint16."""
        return {"weight": self.values}

    def stored(self, store: str, shares: bool) -> Stored:  # noqa: ARG002
        """Return the matrix."""
        code = "BF16" if self.kind == "bfloat16" else None
        return Stored([StoredTensor.of("weight", self.values, code)], None)

    def bind(self, bias: Array | None, options: LinearOptions) -> FloatProduct:
        """Return the product."""
        return FloatProduct(self._product, self.shape[0], self.nbytes, bias, options)

    def _product(self, rows: Array, y: Array) -> None:
        n, k = self.shape
        step = max(1, _BLOCK_ELEMENTS // max(1, k))
        block = np.empty((min(step, n), k), np.float32)
        for start in range(0, n, step):
            end = min(start + step, n)
            np.matmul(rows, self._widened(start, end, block).T, out=y[:, start:end])

    def _widened(self, start: int, end: int, out: Array | None = None) -> Array:
        """Return some rows as float32."""
        part = self.values[start:end]
        widened: Array = np.empty(part.shape, np.float32) if out is None else out[: len(part)]
        _backend.backend.widen(part, widened)
        return widened

    def dequantized(self) -> Array:
        """Return the matrix as float32, which is exact."""
        return self._widened(0, self.shape[0])

    def rows(self, start: int, stop: int) -> Array:
        """Return some rows as float32; the others are not widened."""
        return self._widened(start, stop)

    def like(self: H, values: ArrayLike) -> H:
        """Round other numbers to the same type."""
        return type(self).from_float(values)

    def lookup(self, ids: Array, out: Array) -> None:
        """Write rows as float32."""
        _backend.backend.widen(self.values[ids], out)

    def described(self) -> dict[str, str]:
        """Return the type."""
        return {"dtype": repr(self.kind)}


class Float16Weight(HalfWeight):
    """IEEE half precision.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.nn.weights import Float16Weight
    >>> Float16Weight.from_float(np.eye(2, dtype=np.float32)).nbytes
    8
    """

    kind = "float16"


class BFloat16Weight(HalfWeight):
    """The upper halves of float32."""

    kind = "bfloat16"


def half_weight(values: ArrayLike) -> HalfWeight:
    """Return the weight of the kind that an array is of."""
    array = _half(values)
    return (Float16Weight if _kind_of(array) == "float16" else BFloat16Weight)(array)


def _half(values: ArrayLike) -> Array:
    array = _checks.as_array(values, "weight")
    if array.dtype.name == "bfloat16":
        array = array.view(np.uint16)
    if array.dtype not in (np.float16, np.uint16):
        raise TypeError(
            f"weight: expected float16, or bfloat16 as uint16, got {array.dtype}; `from_float` "
            "rounds"
        )
    return array


def _kind_of(array: Array) -> str:
    return "float16" if array.dtype == np.float16 else "bfloat16"
