# SPDX-License-Identifier: Apache-2.0
"""Layers whose weights are held in 16 bits and computed with in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from octavo import _backend, _checks
from octavo.nn import _state
from octavo.nn.embedding import _checked_ids
from octavo.nn.module import Module

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DTYPES", "HalfEmbedding", "HalfLinear", "to_half"]

Array = NDArray[Any]
L = TypeVar("L", bound="HalfLinear")
E = TypeVar("E", bound="HalfEmbedding")

DTYPES = ("float16", "bfloat16")

_BLOCK_ELEMENTS = 1 << 16
"""Weights widened at a time: 256 KiB of float32, which the product then finds in L2."""


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
    >>> from octavo.nn.half import to_half
    >>> to_half([1.0, -2.5], "bfloat16")
    array([16256, 49184], dtype=uint16)
    """
    chosen = _checks.choice(dtype, "dtype", DTYPES)
    array = _checks.as_float(values, name, float64=True)
    _checks.check_finite(array, name)
    if chosen == "float16":
        with np.errstate(over="ignore"):
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
    upper: Array = (rounded >> 16).astype(np.uint16)
    return upper


class _Weight:
    """A (N, K) matrix in 16 bits, widened a few rows at a time."""

    def __init__(self, values: ArrayLike, name: str) -> None:
        array = _checks.as_array(values, name)
        if array.dtype.name == "bfloat16":
            array = array.view(np.uint16)
        if array.dtype not in (np.float16, np.uint16):
            raise TypeError(
                f"{name}: expected float16, or bfloat16 as uint16, got {array.dtype}; `from_float` "
                "rounds"
            )
        _checks.check_shape(array, (None, None), name)
        self.values = np.ascontiguousarray(array)

    @property
    def dtype(self) -> str:
        return "float16" if self.values.dtype == np.float16 else "bfloat16"

    def rows(self, start: int, end: int, out: Array | None = None) -> Array:
        """Return some rows as float32."""
        part = self.values[start:end]
        widened: Array = np.empty(part.shape, np.float32) if out is None else out[: len(part)]
        _backend.backend.widen(part, widened)
        return widened


class HalfLinear(Module):
    """``activation(x @ weight.T + bias) + residual`` in float32, with the weight held in 16 bits.

    Some rows of the weight at a time are widened, which is exact, and multiplied: a float32 copy
    of all of it never exists.  The bias is float32.

    Parameters
    ----------
    weight : float16 array, or uint16 array of the bits of bfloat16, shape (out_features,
        in_features)
        Kept as it is, also when it is a view of a memory-mapped file.
    bias : float32 array, shape (out_features,), optional
    activation : "none", "relu", "gelu", "gelu_tanh", "silu" or "tanh"

    Examples
    --------
    >>> import numpy as np, octavo
    >>> layer = octavo.nn.HalfLinear.from_float(np.eye(2, dtype=np.float32), dtype="bfloat16")
    >>> layer
    HalfLinear(in_features=2, out_features=2, bias=False, dtype='bfloat16')
    >>> layer(np.array([[0.5, 2.0]], np.float32))
    array([[0.5, 2. ]], dtype=float32)
    """

    def __init__(
        self, weight: ArrayLike, bias: ArrayLike | None = None, activation: str = "none"
    ) -> None:
        self._weight = _Weight(weight, "weight")
        self.bias: Array | None = None
        if bias is not None:
            self.bias = _state.parameter(bias, (self.out_features,), "bias")
        self.activation = _checks.choice(activation, "activation", _checks.ACTIVATIONS)

    @classmethod
    def from_float(
        cls: type[L],
        weight: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        activation: str = "none",
        dtype: str = "float16",
    ) -> L:
        """Round a float weight, finite, to ``"float16"`` or ``"bfloat16"``."""
        return cls(to_half(weight, dtype, "weight"), bias, activation)

    @classmethod
    def from_state_dict(cls: type[L], state: Mapping[str, Any], **config: Any) -> L:
        """Rebuild a layer from `state_dict()` and `config()`."""
        _state.check_keys(state, ("weight",), ("bias",))
        return cls(state["weight"], state.get("bias"), **config)

    def __call__(self, x: ArrayLike, residual: ArrayLike | None = None) -> Array:
        """Apply the layer.

        Parameters
        ----------
        x : float32 array, shape (..., in_features)
        residual : float32 array, shape (..., out_features), optional
            Added after the activation.

        Returns
        -------
        float32 ndarray, shape (..., out_features)
        """
        array = _checks.as_float32(x, "x")
        n, k = self._weight.values.shape
        if array.ndim == 0 or array.shape[-1] != k:
            raise ValueError(f"x: expected shape (..., {k}), got {array.shape}")
        shape = (*array.shape[:-1], n)
        added = None
        if residual is not None:
            added = _checks.as_float32(residual, "residual")
            _checks.check_shape(added, shape, "residual")
        with np.errstate(all="ignore"):
            y = self._product(_checks.rows_of(array))
            if self.bias is not None:
                y += self.bias
            if self.activation != "none":
                flat = y.reshape(-1)
                _backend.backend.activation(flat, self.activation, flat)
            y = y.reshape(shape)
            if added is not None:
                y += added
        return y

    def _product(self, rows: Array) -> Array:
        n, k = self._weight.values.shape
        y = np.empty((len(rows), n), np.float32)
        step = max(1, _BLOCK_ELEMENTS // max(1, k))
        block = np.empty((min(step, n), k), np.float32)
        for start in range(0, n, step):
            end = min(start + step, n)
            np.matmul(rows, self._weight.rows(start, end, block).T, out=y[:, start:end])
        return y

    @property
    def in_features(self) -> int:
        """K, the width of `x`."""
        return int(self._weight.values.shape[1])

    @property
    def out_features(self) -> int:
        """N, the width of the result."""
        return int(self._weight.values.shape[0])

    @property
    def dtype(self) -> str:
        """How the weight is held: "float16" or "bfloat16"."""
        return self._weight.dtype

    @property
    def weight(self) -> Array:
        """The weight as float32, (out_features, in_features), computed on every access."""
        return self._weight.rows(0, self.out_features)

    @property
    def nbytes(self) -> int:
        """Bytes of the weight and the bias."""
        return self._weight.values.nbytes + (0 if self.bias is None else self.bias.nbytes)

    def state_dict(self) -> dict[str, Array]:
        """Return the parameters, not copied; bfloat16 as uint16."""
        state = {"weight": self._weight.values}
        if self.bias is not None:
            state["bias"] = self.bias
        return state

    def config(self) -> dict[str, Any]:
        """Return the options that are no tensors, as `from_state_dict` takes them."""
        return {"activation": self.activation}

    def __repr__(self) -> str:
        parts = [f"in_features={self.in_features}", f"out_features={self.out_features}"]
        if self.bias is None:
            parts.append("bias=False")
        if self.activation != "none":
            parts.append(f"activation={self.activation!r}")
        parts.append(f"dtype={self.dtype!r}")
        return f"{type(self).__name__}({', '.join(parts)})"


class HalfEmbedding(Module):
    """A table in 16 bits behind the interface of `FloatEmbedding`.

    Parameters
    ----------
    weight : float16 array, or uint16 array of the bits of bfloat16, shape (num_embeddings,
        embedding_dim)
        Kept as it is, also when it is a view of a memory-mapped file.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> octavo.nn.HalfEmbedding.from_float(np.eye(2, dtype=np.float32))([[1]])
    array([[[0., 1.]]], dtype=float32)
    """

    def __init__(self, weight: ArrayLike) -> None:
        self._weight = _Weight(weight, "weight")

    @classmethod
    def from_float(cls: type[E], weight: ArrayLike, *, dtype: str = "float16") -> E:
        """Round a float table, finite, to ``"float16"`` or ``"bfloat16"``."""
        return cls(to_half(weight, dtype, "weight"))

    @classmethod
    def from_state_dict(cls: type[E], state: Mapping[str, Any], **config: Any) -> E:
        """Rebuild a table from `state_dict()` and `config()`."""
        _state.check_keys(state, ("weight",))
        return cls(state["weight"], **config)

    def __call__(self, ids: ArrayLike) -> Array:
        """Look up rows: float32, shape ``(*ids.shape, embedding_dim)``."""
        found = self._weight.values[_checked_ids(ids, self.num_embeddings)]
        rows = np.empty(found.shape, np.float32)
        _backend.backend.widen(found, rows)
        return rows

    @property
    def num_embeddings(self) -> int:
        """Rows of the table."""
        return int(self._weight.values.shape[0])

    @property
    def embedding_dim(self) -> int:
        """Width of a row."""
        return int(self._weight.values.shape[1])

    @property
    def dtype(self) -> str:
        """How the table is held: "float16" or "bfloat16"."""
        return self._weight.dtype

    @property
    def weight(self) -> Array:
        """The table as float32, computed on every access."""
        return self._weight.rows(0, self.num_embeddings)

    @property
    def nbytes(self) -> int:
        """Bytes of the table."""
        return int(self._weight.values.nbytes)

    def state_dict(self) -> dict[str, Array]:
        """Return the table, not copied; bfloat16 as uint16."""
        return {"weight": self._weight.values}

    def config(self) -> dict[str, Any]:
        """No options."""
        return {}

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.num_embeddings}, {self.embedding_dim}, "
            f"dtype={self.dtype!r})"
        )
