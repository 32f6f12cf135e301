# SPDX-License-Identifier: Apache-2.0
"""The weight that is plain float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from octavo import _backend, _checks, runtime
from octavo._types import Array
from octavo.nn import _state
from octavo.nn.options import LinearOptions
from octavo.nn.weights.base import Bound, Memory, Weight
from octavo.nn.weights.product import FloatProduct
from octavo.nn.weights.stored import Stored, StoredTensor, TensorReader

# The last layer of a classifier, which stays float when the others are quantized, has so few
# outputs. BLAS adds up in an order that depends on how many rows there are, so that each row is a
# product of its own: as fast with 2 outputs, half as fast with 64 (einsum: a tenth).
_NARROW = 64
_WIDTH = 16
"""Rows of a panel of packed memory."""


class FloatWeight(Weight):
    """A float32 matrix, multiplied by the native kernels, or by NumPy's BLAS without them.

    A weight that a layer has computed with natively lies in packed memory alone, as `Int8Weight`
    says; one that is only looked up stays as it is.

    Parameters
    ----------
    values : float32 array, shape (N, K)
        Kept as it is.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.nn.weights import FloatWeight
    >>> FloatWeight(np.eye(2, dtype=np.float32)).rows(1, 2)
    array([[0., 1.]], dtype=float32)
    """

    kind = "float32"
    takes = frozenset({"activation", "input_multiplier"})
    bits = 32
    _read: Callable[[int, int], Array]

    def __init__(self, values: ArrayLike) -> None:
        self._values: Array | None = _state.parameter(values, (None, None), "weight")
        self._packed: Any = None
        self._pack: Any = None  # what does, of a weight that a layer computes with natively
        self.shape = int(self._values.shape[0]), int(self._values.shape[1])

    @classmethod
    def streamed(cls, rows: Callable[[int, int], Array], shape: tuple[int, int]) -> FloatWeight:
        """Take a matrix that ``rows(start, stop)`` reads, until it is asked for as a whole."""
        made = cls(np.empty((0, shape[1]), np.float32))
        made._values, made._read, made.shape = None, rows, shape
        return made

    @property
    def values(self) -> Array:
        """The matrix; unpacked on every access if a layer computes with it."""
        held = self._values
        if held is None and self._packed is not None:
            return self.rows(0, self.shape[0])
        if held is None:
            held = self._values = self._read(0, self.shape[0])
            del self._read
        return held

    def rows(self, start: int, stop: int) -> Array:
        """Return some rows; of a matrix that is streamed or packed, only those are made."""
        held = self._values
        if held is not None:
            return held[start:stop]
        if self._packed is None:
            return self._read(start, stop)
        # As slices go: to the end, and no further.
        begin, end, _ = slice(start, stop).indices(self.shape[0])
        return self._packed.unpack(begin, max(begin, end))

    def packed(self) -> Any:
        """Return it as the native product takes it, from now on the only form it is held in."""
        if self._packed is None:
            packed = self._pack(np.require(self.values, requirements=("C", "A")))
            # In this order: another thread finds the matrix in one of both.
            self._packed = packed
            self._values = None
        return self._packed

    @property
    def nbytes(self) -> int:
        """Bytes of the matrix; packed, of rows up to a multiple of 16."""
        held = self._packed
        return 4 * self.shape[0] * self.shape[1] if held is None else int(held.nbytes)

    @classmethod
    def from_float(cls, values: ArrayLike) -> FloatWeight:  # type: ignore[override]
        """Do what the constructor does."""
        return cls(values)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Any]) -> FloatWeight:  # type: ignore[override]
        """Take ``weight``."""
        return cls(tensors["weight"])

    @classmethod
    def read(cls, tensors: TensorReader, shape: tuple[int, int], role: str) -> FloatWeight:  # noqa: ARG003
        """Read any type of floats as float32."""
        return cls(tensors.float32("weight", shape))

    def tensors(self) -> dict[str, Array]:
        """Return the matrix."""
        return {"weight": self.values}

    def stored(self, store: str, shares: bool) -> Stored:  # noqa: ARG002
        """Return the matrix."""
        return Stored([StoredTensor.of("weight", self.values)], None)

    def memory(self, bound: Bound) -> Memory:
        """Return the matrix, packed as (panels, K, 16) where the native backend computes."""
        if not isinstance(bound, NativeProduct):
            return super().memory(bound)
        return Memory({"packed": self.packed().packed}, bound.bias)

    @classmethod
    def from_parts(cls, parts: Mapping[str, Any], shape: tuple[int, int]) -> FloatWeight:  # type: ignore[override]
        """Make one of a plain matrix, or a packed one."""
        values = parts["packed" if "packed" in parts else "weight"]
        if values.ndim == 3:
            values = values.transpose(0, 2, 1).reshape(-1, values.shape[1])[: shape[0]]
        return super().from_parts({"weight": values}, shape)

    def shareable(self) -> dict[str, Array]:
        """Return what a layer computes with, packed, or what is looked up, plain."""
        if self._pack is None:
            return super().shareable()
        return {"packed": self.packed().packed}

    @classmethod
    def attach(cls, arrays: Mapping[str, Any], shape: tuple[int, int]) -> FloatWeight:  # type: ignore[override]
        """Make one of a packed matrix, which only the native backend has, or a plain one."""
        if "packed" not in arrays:
            return super().attach(arrays, shape)
        _checks.check_shape(arrays["packed"], (None, shape[1], None), "packed")
        packed = _backend.backend.PackedF32(arrays["packed"], shape[0])
        made = cls(np.empty((0, shape[1]), np.float32))
        made._packed, made._values, made.shape = packed, None, shape
        return made

    def bind(self, bias: Array | None, options: LinearOptions) -> Bound:
        """Return the product, which packs the matrix when it is first called."""
        # In software the chain of multiply-adds takes a hundred times as long as BLAS.
        if runtime.has_fma():
            self._pack = _backend.backend.PackedF32
            return NativeProduct(self, bias, options)
        return FloatProduct(self._product, self.shape[0], self.nbytes, bias, options)

    def _product(self, rows: Array, y: Array) -> None:
        if self.shape[0] <= _NARROW:
            np.matmul(rows[:, None], self.values.T, out=y[:, None])
        else:
            np.matmul(rows, self.values.T, out=y)

    def dequantized(self) -> Array:
        """Return the matrix."""
        return self.values

    def like(self, values: ArrayLike) -> FloatWeight:
        """Return other numbers."""
        return FloatWeight(values)

    def times(self, multiplier: Array) -> FloatWeight:
        """Return the matrix with its columns multiplied."""
        return FloatWeight(self.values * multiplier)

    def lookup(self, ids: Array, out: Array) -> None:
        """Write rows."""
        if self._values is None and self._packed is not None:
            out[...] = self._packed.packed[ids // _WIDTH, :, ids % _WIDTH]
        else:
            # Ids are checked; any other mode than "raise" saves a copy.
            np.take(self.values, ids, axis=0, out=out, mode="wrap")

    def __getstate__(self) -> dict[str, Any]:
        return {"_values": self.values, "_packed": None, "_pack": None, "shape": self.shape}


class NativeProduct:
    """A weight with bias and options for the native product.

    Weights are packed late: most of those that a model is compressed from never compute.
    """

    def __init__(self, weight: FloatWeight, bias: Array | None, options: LinearOptions) -> None:
        self._weight, self._activation = weight, options.activation
        self._make = _backend.backend.LinearF32
        self.bias, self.input_multiplier = bias, options.input_multiplier
        self._layer: Any = None

    def native(self) -> Any:
        """Return the native layer."""
        if self._layer is None:
            self._layer = self._make(
                self._weight.packed(), self.bias, self._activation, self.input_multiplier
            )
        return self._layer

    def call(self, x: Any, residual: Any, addend: Any, out: Any) -> Array | None:
        """Do what the native layer does."""
        return (self._layer or self.native()).call(x, residual, addend, out)

    def run(
        self,
        x: Array,
        residual: Array | None = None,
        addend: Array | None = None,
        out: Array | None = None,
    ) -> Array:
        """(M, K) float32 rows to (M, N) float32."""
        return self.native().run(x, residual, addend, out)

    @property
    def nbytes(self) -> int:
        """Bytes of weight, bias and multiplier."""
        held = (self.bias, self.input_multiplier)
        return self._weight.nbytes + sum(array.nbytes for array in held if array is not None)
