# SPDX-License-Identifier: Apache-2.0
"""The weight that is plain float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from octavo._types import Array
from octavo.nn import _state
from octavo.nn.options import LinearOptions
from octavo.nn.weights.base import Weight
from octavo.nn.weights.product import FloatProduct
from octavo.nn.weights.stored import Stored, StoredTensor, TensorReader

# The last layer of a classifier, which stays float when the others are quantized, has so few
# outputs. BLAS adds up in an order that depends on how many rows there are, so that each row is a
# product of its own: as fast with 2 outputs, half as fast with 64 (einsum: a tenth).
_NARROW = 64


class FloatWeight(Weight):
    """A float32 matrix, multiplied by NumPy's BLAS, or row by row if it has few outputs.

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
        self.shape = int(self._values.shape[0]), int(self._values.shape[1])

    @classmethod
    def streamed(cls, rows: Callable[[int, int], Array], shape: tuple[int, int]) -> FloatWeight:
        """Take a matrix that ``rows(start, stop)`` reads, until it is asked for as a whole."""
        made = cls.__new__(cls)
        made._values, made._read, made.shape = None, rows, shape
        return made

    @property
    def values(self) -> Array:
        """The matrix."""
        if self._values is None:
            self._values = self._read(0, self.shape[0])
            del self._read
        return self._values

    def rows(self, start: int, stop: int) -> Array:
        """Return some rows; of a matrix that is streamed, only those are read."""
        return self._read(start, stop) if self._values is None else self._values[start:stop]

    @property
    def nbytes(self) -> int:
        """Bytes of the matrix."""
        return 4 * self.shape[0] * self.shape[1]

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
        """Return the matrix, not copied."""
        return {"weight": self.values}

    def stored(self, store: str, shares: bool) -> Stored:  # noqa: ARG002
        """Return the matrix."""
        return Stored([StoredTensor.of("weight", self.values)], None)

    def bind(self, bias: Array | None, options: LinearOptions) -> FloatProduct:
        """Return the product."""
        return FloatProduct(self._product, self.shape[0], self.nbytes, bias, options)

    def _product(self, rows: Array, y: Array) -> None:
        if self.shape[0] <= _NARROW:
            np.matmul(rows[:, None], self.values.T, out=y[:, None])
        else:
            np.matmul(rows, self.values.T, out=y)

    def dequantized(self) -> Array:
        """Return the matrix, not copied."""
        return self.values

    def like(self, values: ArrayLike) -> FloatWeight:
        """Return other numbers."""
        return FloatWeight(values)

    def times(self, multiplier: Array) -> FloatWeight:
        """Return the matrix with its columns multiplied."""
        return FloatWeight(self.values * multiplier)

    def lookup(self, ids: Array, out: Array) -> None:
        """Write rows."""
        # Ids are checked; any other mode than "raise" saves a copy.
        np.take(self.values, ids, axis=0, out=out, mode="wrap")
