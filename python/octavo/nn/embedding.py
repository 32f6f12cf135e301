# SPDX-License-Identifier: Apache-2.0
"""Embedding tables: int8 rows, and float32 ones behind the same interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from octavo import _backend, _checks
from octavo.nn import _state
from octavo.nn.module import Module
from octavo.qtensor import quantize

if TYPE_CHECKING:
    from collections.abc import Mapping

Array = NDArray[Any]
E = TypeVar("E", bound="Embedding")
F = TypeVar("F", bound="FloatEmbedding")


def _checked_ids(ids: ArrayLike, count: int) -> Array:
    """Return the ids as contiguous int64 of their own, all of them rows of the table."""
    array = _checks.as_ids(ids, "ids", own=True)
    if array.size:
        low, high = int(array.min()), int(array.max())
        if low < 0 or high >= count:
            worst = low if low < 0 else high
            raise ValueError(f"ids: expected values in [0, {count - 1}], got {worst}")
    return np.asarray(array, order="C")


class Embedding(Module):
    """A table of int8 rows, each with a scale of its own.

    Parameters
    ----------
    codes : int8 array, shape (num_embeddings, embedding_dim)
        Kept as it is, also when it is a view of a memory-mapped file.
    scale : positive float32 array, shape (num_embeddings,) or (num_embeddings, 1)

    Examples
    --------
    >>> import numpy as np, octavo
    >>> table = octavo.Embedding.from_float(np.array([[0.0, 1.0], [127.0, -2.0]], np.float32))
    >>> table([1, 1])
    array([[127.,  -2.],
           [127.,  -2.]], dtype=float32)
    """

    def __init__(self, codes: ArrayLike, scale: ArrayLike) -> None:
        self.weight_codes = np.ascontiguousarray(_checks.as_codes(codes, "codes", (_checks.INT8,)))
        _checks.check_shape(self.weight_codes, (None, None), "codes")
        count = self.weight_codes.shape[0]
        scales = _checks.as_float32(scale, "scale", float64=True)
        if scales.shape not in ((count,), (count, 1)):
            raise ValueError(
                f"scale: expected shape ({count},) or ({count}, 1), got {scales.shape}"
            )
        _checks.check_scale(scales, "scale")
        self.weight_scale = np.ascontiguousarray(scales.reshape(-1))

    @classmethod
    def from_float(cls: type[E], weight: ArrayLike) -> E:
        """Quantize a float table, shape (num_embeddings, embedding_dim), finite."""
        values = _checks.as_float32(weight, "weight", float64=True)
        _checks.check_shape(values, (None, None), "weight")
        _checks.check_finite(values, "weight")
        q = quantize(values, axis=0)
        return cls(q.data, q.scale)

    @classmethod
    def from_quantized(cls: type[E], codes: ArrayLike, scale: ArrayLike) -> E:
        """Do what the constructor does, under the name the linear layer has for it."""
        return cls(codes, scale)

    @classmethod
    def from_state_dict(cls: type[E], state: Mapping[str, Any], **config: Any) -> E:
        """Rebuild a table from `state_dict()` and `config()`."""
        _state.check_keys(state, ("weight", "weight_scale"))
        return cls(state["weight"], state["weight_scale"], **config)

    def __call__(self, ids: ArrayLike) -> Array:
        """Look up rows.

        Parameters
        ----------
        ids : integer array of any shape

        Returns
        -------
        float32 ndarray, shape ``(*ids.shape, embedding_dim)``
        """
        array = _checked_ids(ids, self.num_embeddings)
        out = np.empty((array.size, self.embedding_dim), np.float32)
        _backend.backend.embedding(self.weight_codes, self.weight_scale, array.reshape(-1), out)
        return out.reshape(*array.shape, self.embedding_dim)

    @property
    def num_embeddings(self) -> int:
        """Rows of the table."""
        return int(self.weight_codes.shape[0])

    @property
    def embedding_dim(self) -> int:
        """Width of a row."""
        return int(self.weight_codes.shape[1])

    @property
    def weight(self) -> Array:
        """The table as float32, computed on every access."""
        weight: Array = self.weight_codes.astype(np.float32)
        weight *= self.weight_scale[:, None]
        return weight

    @property
    def nbytes(self) -> int:
        """Bytes of the codes and the scales."""
        return self.weight_codes.nbytes + self.weight_scale.nbytes

    def state_dict(self) -> dict[str, Array]:
        """Return the parameters, not copied, with the scale as (num_embeddings, 1)."""
        return {"weight": self.weight_codes, "weight_scale": self.weight_scale[:, None]}

    def config(self) -> dict[str, Any]:
        """No options."""
        return {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_embeddings}, {self.embedding_dim})"


class FloatEmbedding(Module):
    """A float32 table behind the interface of `Embedding`.

    Parameters
    ----------
    weight : float32 array, shape (num_embeddings, embedding_dim)
        Kept as it is, also when it is a view of a memory-mapped file.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> octavo.FloatEmbedding(np.eye(2, dtype=np.float32))([[1]])
    array([[[0., 1.]]], dtype=float32)
    """

    def __init__(self, weight: ArrayLike) -> None:
        self.weight = _state.parameter(weight, (None, None), "weight")

    @classmethod
    def from_float(cls: type[F], weight: ArrayLike) -> F:
        """Do what the constructor does, under the name the int8 table has for it."""
        return cls(weight)

    @classmethod
    def from_state_dict(cls: type[F], state: Mapping[str, Any], **config: Any) -> F:
        """Rebuild a table from `state_dict()` and `config()`."""
        _state.check_keys(state, ("weight",))
        return cls(state["weight"], **config)

    def __call__(self, ids: ArrayLike) -> Array:
        """Look up rows: float32, shape ``(*ids.shape, embedding_dim)``."""
        rows: Array = self.weight[_checked_ids(ids, self.num_embeddings)]
        return rows

    @property
    def num_embeddings(self) -> int:
        """Rows of the table."""
        return int(self.weight.shape[0])

    @property
    def embedding_dim(self) -> int:
        """Width of a row."""
        return int(self.weight.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of the table."""
        return self.weight.nbytes

    def state_dict(self) -> dict[str, Array]:
        """Return the table, not copied."""
        return {"weight": self.weight}

    def config(self) -> dict[str, Any]:
        """No options."""
        return {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_embeddings}, {self.embedding_dim})"
