# SPDX-License-Identifier: Apache-2.0
"""The weight that is plain float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from octavo.nn import _state
from octavo.nn.weights.base import Stored, StoredTensor, TensorReader, Weight
from octavo.nn.weights.product import FloatProduct

if TYPE_CHECKING:
    from octavo.nn.options import LinearOptions

Array = NDArray[Any]


class FloatWeight(Weight):
    """A float32 matrix, multiplied by NumPy's BLAS.

    Parameters
    ----------
    values : float32 array, shape (N, K)
        Kept as it is, also when it is a view of a memory-mapped file.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.nn.weights import FloatWeight
    >>> FloatWeight(np.eye(2, dtype=np.float32)).lookup(np.array([1]))
    array([[0., 1.]], dtype=float32)
    """

    kind = "float32"
    takes = frozenset({"activation", "input_multiplier"})
    bits = 32

    def __init__(self, values: ArrayLike) -> None:
        self.values = _state.parameter(values, (None, None), "weight")
        self.shape = int(self.values.shape[0]), int(self.values.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of the matrix."""
        return self.values.nbytes

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
        """Read any type of floats as float32; what is stored so stays in the mapped file."""
        return cls(tensors.float32("weight", shape))

    def tensors(self) -> dict[str, Array]:
        """Return the matrix, not copied."""
        return {"weight": self.values}

    def stored(self, store: str, shares: bool) -> Stored:  # noqa: ARG002
        """Return the matrix."""
        return Stored([StoredTensor.of("weight", self.values)], None)

    def bind(self, bias: Array | None, options: LinearOptions) -> FloatProduct:
        """Return the product."""
        return FloatProduct(self._product, self.nbytes, bias, options)

    def _product(self, rows: Array) -> Array:
        y: Array = np.matmul(rows, self.values.T)
        return y

    def dequantized(self) -> Array:
        """Return the matrix, not copied."""
        return self.values

    def like(self, values: ArrayLike) -> FloatWeight:
        """Return other numbers."""
        return FloatWeight(values)

    def times(self, multiplier: Array) -> FloatWeight:
        """Return the matrix with its columns multiplied."""
        return FloatWeight(self.values * multiplier)

    def lookup(self, ids: Array) -> Array:
        """Return rows."""
        rows: Array = self.values[ids]
        return rows
