# SPDX-License-Identifier: Apache-2.0
"""Layers whose weights are held in 16 bits and computed with in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from octavo import _backend, _checks
from octavo.nn import _linear_arguments as arguments
from octavo.nn import _state
from octavo.nn._half_weight import HalfWeight, to_half
from octavo.nn.embedding import _checked_ids
from octavo.nn.module import Module

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HalfEmbedding", "HalfLinear"]

Array = NDArray[Any]
L = TypeVar("L", bound="HalfLinear")
E = TypeVar("E", bound="HalfEmbedding")

_BLOCK_ELEMENTS = 1 << 16
"""Weights widened at a time: 256 KiB of float32, which the product then finds in L2."""


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
        self._weight = HalfWeight(weight, "weight")
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

    def __call__(
        self,
        x: ArrayLike,
        residual: ArrayLike | None = None,
        *,
        addend: ArrayLike | None = None,
    ) -> Array:
        """Apply the layer.

        Parameters
        ----------
        x : float32 array, shape (..., in_features)
        residual : float32 array, shape (..., out_features), optional
            Added after the activation.
        addend : float32 array, shape (..., out_features), optional
            Added before the activation.

        Returns
        -------
        float32 ndarray, shape (..., out_features)
        """
        array, shape = arguments.float_input(x, *self._weight.values.shape)
        after, before = arguments.added(residual, addend, shape)
        with np.errstate(all="ignore"):
            y = self._product(_checks.rows_of(array))
            if self.bias is not None:
                y += self.bias
            if before is not None:
                y += _checks.rows_of(before)
            return arguments.activated(y, self.activation, after, shape)

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
        self._weight = HalfWeight(weight, "weight")

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
