# SPDX-License-Identifier: Apache-2.0
"""Float products that a linear layer adds before its activation, beside that with its weight."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from octavo import _checks
from octavo._types import Array
from octavo.nn import _state
from octavo.nn.options import LinearOptions
from octavo.nn.traced import NotTraceableError, Traced
from octavo.nn.weights.float32 import FloatWeight


class SidePath:
    """``x[..., columns] @ steps[0] @ steps[1] ... + bias``, in float32 as `FloatLinear` is.

    With columns and one step it is what outlier columns are (Dettmers et al. 2022): the layer's own
    weight does not see them.  With two small steps it is a low-rank adapter (Hu et al. 2021).

    Parameters
    ----------
    steps : sequence of float32 arrays
        The first has a row for each column, the last a column for each output.
    columns : int64 array, ascending, optional
        Which columns of `x` the path reads, instead of the layer; all by default, beside it.
    bias : float32 array, shape (N,), optional

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.nn import SidePath
    >>> path = SidePath([np.full((1, 2), 3, np.float32)], columns=np.array([1]))
    >>> path(np.array([[5, 1, 5]], np.float32))
    array([[3., 3.]], dtype=float32)
    >>> path.delta(3)
    array([[0., 3., 0.],
           [0., 3., 0.]], dtype=float32)
    """

    def __init__(
        self, steps: Sequence[Array], columns: Array | None = None, bias: Array | None = None
    ) -> None:
        self.columns, self.bias = columns, bias
        self._weights = [FloatWeight(np.ascontiguousarray(step.T)) for step in steps]
        *first, last = self._weights
        plain = LinearOptions()
        self._products = [*(step.bind(None, plain) for step in first), last.bind(bias, plain)]

    @property
    def steps(self) -> tuple[Array, ...]:
        """What it multiplies by, one after the other; made on every access."""
        return tuple(weight.values.T for weight in self._weights)

    @property
    def out_features(self) -> int:
        """N, the width of the result."""
        return self._weights[-1].shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        held = (*self._weights, self.columns, self.bias)
        return sum(array.nbytes for array in held if array is not None)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.steps, self.columns, self.bias)

    def __call__(self, x: Any, addend: Any = None) -> Any:
        """Return (..., N) float32 of (..., K) float32; with an addend (..., N), the sum of both.

        Small results without an addend lie in memory that this thread's next call uses again.
        """
        if isinstance(x, Traced):
            return self._traced(x, addend)
        *first, last = self._products
        rows = _checks.rows_of(x)
        # An addend may be what another path has left in the memory that is used again.
        shape = (len(rows), self.out_features)
        y = _scratch(*shape) if addend is None else np.empty(shape, np.float32)
        if self.columns is not None:
            rows = np.take(rows, self.columns, axis=1)
        for product in first:
            rows = product.run(rows)
        last.run(rows, None, None if addend is None else _checks.rows_of(addend), y)
        return y.reshape(*x.shape[:-1], y.shape[1])

    def _traced(self, x: Traced, addend: Any) -> Traced:
        if self.columns is not None:
            raise NotTraceableError("no step takes columns of what it reads")
        for product, weight in zip(self._products, self._weights, strict=True):
            is_last = product is self._products[-1]
            x = x.product(product, weight.shape, addend if is_last else None)
        return x

    def delta(self, k: int) -> Array:
        """Return what the layer's weight of K inputs changes by, (N, K) float32."""
        product, *rest = self.steps
        for step in rest:
            product = product @ step
        if self.columns is None:
            return np.ascontiguousarray(product.T)
        whole = np.zeros((self.out_features, k), np.float32)
        whole[:, self.columns] = product.T
        return whole

    def masked(self, multiplier: Array | None, k: int) -> Array | None:
        """Return the input multiplier of the layer: 0 where this path reads instead."""
        if self.columns is None:
            return multiplier
        masked = np.ones(k, np.float32) if multiplier is None else multiplier.copy()
        masked[self.columns] = 0
        return masked

    def tensors(self) -> dict[str, Array]:
        """Return what a state dict holds of it, in arrays of its own."""
        if self.columns is not None and len(self._weights) == 1 and self.bias is None:
            weight = np.array(self._weights[0].values)
            return {"outlier_columns": self.columns.copy(), "outlier_weight": weight}
        raise ValueError("side_path: expected outlier columns, an adapter has files of its own")

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Any], shape: tuple[int, int]) -> SidePath | None:
        """Return the path of `tensors()` beside a weight of a shape, checked; None if it has none.

        Raises
        ------
        TypeError, ValueError
            For columns that are not ascending integers of the layer's inputs, or other weights.
        """
        if "outlier_columns" not in tensors:
            return None
        columns = checked_columns(tensors["outlier_columns"], shape[1])
        size = (shape[0], columns.size)
        weight = _state.parameter(tensors["outlier_weight"], size, "outlier_weight")
        _checks.check_finite(weight, "outlier_weight")
        return cls([weight.T], columns)

    def described(self) -> dict[str, str]:
        """Return what the repr of a layer tells of it."""
        if self.columns is not None:
            return {"outliers": str(len(self.columns))}
        return {"rank": str(self._weights[0].shape[0])}


def checked_columns(values: ArrayLike, k: int) -> Array:
    """Check outlier columns: ascending, within [0, k)."""
    array = np.asarray(values)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"outlier_columns: expected integers, got {array.dtype}")
    _checks.check_shape(array, (None,), "outlier_columns")
    columns = array.astype(np.int64)
    if columns.size and (columns[0] < 0 or columns[-1] >= k or (np.diff(columns) <= 0).any()):
        raise ValueError(
            f"outlier_columns: expected ascending numbers from 0 to {k - 1}, got {values!r}"
        )
    return columns


# Floats that a thread keeps at most. Two fresh arrays of 128x1536 for each call make the C library
# give memory back and fault it in again: 1.4 ms where the product takes 0.1.
_KEPT = 1 << 20
_MEMORY = threading.local()


def _scratch(rows: int, columns: int) -> Array:
    size = rows * columns
    if size > _KEPT:
        return np.empty((rows, columns), np.float32)
    kept: Array | None = getattr(_MEMORY, "kept", None)
    if kept is None or kept.size < size:
        kept = _MEMORY.kept = np.empty(size, np.float32)
    return kept[:size].reshape(rows, columns)
