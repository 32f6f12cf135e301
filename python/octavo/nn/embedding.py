# SPDX-License-Identifier: Apache-2.0
"""The embedding table: rows of a weight of any kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeGuard, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from octavo import _checks, _results
from octavo._types import Array
from octavo.nn import _state
from octavo.nn.weighted import Weighted
from octavo.nn.weights import FloatWeight, Int8Weight, Weight, weight_class
from octavo.nn.weights.half import half_weight

E = TypeVar("E", bound="Embedding")
H = TypeVar("H", bound="HalfEmbedding")


def _checked_ids(ids: ArrayLike, count: int) -> Array:
    """Return the ids as contiguous int64 of their own, all of them rows of the table."""
    array = _checks.as_ids(ids, "ids", own=True)
    if array.size:
        low, high = int(array.min()), int(array.max())
        if low < 0 or high >= count:
            worst = low if low < 0 else high
            raise ValueError(f"ids: expected values in [0, {count - 1}], got {worst}")
    return np.asarray(array, order="C")


class Embedding(Weighted):
    """A table of rows of any kind of weight; by default int8, each row with a scale of its own.

    Parameters
    ----------
    codes : int8 array, shape (num_embeddings, embedding_dim)
        Kept as it is.
    scale : positive float32 array, shape (num_embeddings,) or (num_embeddings, 1)

    Examples
    --------
    >>> import numpy as np, octavo
    >>> table = octavo.Embedding.from_float(np.array([[0.0, 1.0], [127.0, -2.0]], np.float32))
    >>> table([1, 1])
    array([[127.,  -2.],
           [127.,  -2.]], dtype=float32)
    """

    role = "embedding"
    shorthands: ClassVar[list[type[Embedding]]] = []

    def __init__(self, codes: ArrayLike, scale: ArrayLike) -> None:
        array = np.ascontiguousarray(_checks.as_codes(codes, "codes", (_checks.INT8,)))
        _checks.check_shape(array, (None, None), "codes")
        count = array.shape[0]
        scales = _checks.as_float32(scale, "scale", float64=True)
        if scales.shape not in ((count,), (count, 1)):
            raise ValueError(
                f"scale: expected shape ({count},) or ({count}, 1), got {scales.shape}"
            )
        _checks.check_scale(scales, "scale")
        self._weight = Int8Weight(array, np.ascontiguousarray(scales.reshape(-1)))

    @classmethod
    def of(cls: type[E], weight: Weight) -> E:
        """Return the table of a weight, under the name that such a table has."""
        made: E = object.__new__(cls._named(weight))
        made._weight = weight
        return made

    @classmethod
    def from_float(cls: type[E], weight: ArrayLike, *, kind: str | None = None, **form: Any) -> E:
        """Make a table of a float one, shape (num_embeddings, embedding_dim), finite.

        Parameters
        ----------
        weight : float array
        kind : str
            What becomes of it, one of `octavo.nn.weights.KINDS`; by default int8, and what the name
            of another class says.
        **form
            What the weight's `from_float` takes.
        """
        return cls.of(weight_class(kind or cls.kinds[0]).from_float(weight, **form))

    @classmethod
    def from_quantized(cls: type[E], codes: ArrayLike, scale: ArrayLike) -> E:
        """Do what the constructor does, under the name the linear layer has for it."""
        return cls(codes, scale)

    @classmethod
    def from_state_dict(
        cls: type[E], state: Mapping[str, Any], *, kind: str | None = None, **config: Any
    ) -> E:
        """Rebuild a table from `state_dict()` and `config()`."""
        made = weight_class(kind or cls.kinds[0])
        _state.check_keys(state, made.keys, made.optional_keys)
        if made is Int8Weight:
            return cls(state["weight"], state["weight_scale"], **config)
        tensors = {key: state[key] for key in (*made.keys, *made.optional_keys) if key in state}
        return cls.of(made.from_tensors(tensors, **config))

    def __call__(self, ids: ArrayLike, *, out: Array | None = None) -> Array:
        """Look up rows.

        Parameters
        ----------
        ids : integer array of any shape
        out : float32 ndarray, shape ``(*ids.shape, embedding_dim)``, optional
            Takes the rows, and is returned.  C-contiguous and writable, in memory of its own.

        Returns
        -------
        float32 ndarray, shape ``(*ids.shape, embedding_dim)``
        """
        rows = _checked_ids(ids, self.num_embeddings)
        read = {} if out is None else self._weight.tensors()
        y = _results.result(out, (*rows.shape, self.embedding_dim), _results.FLOAT32, read)
        self._weight.lookup(rows, y)
        return y

    @property
    def num_embeddings(self) -> int:
        """Rows of the table."""
        return self._weight.shape[0]

    @property
    def embedding_dim(self) -> int:
        """Width of a row."""
        return self._weight.shape[1]

    @property
    def weight(self) -> Array:
        """The table as float32; computed on every access, unless it is held so."""
        return self._weight.dequantized()

    @property
    def nbytes(self) -> int:
        """Bytes of the table."""
        return self._weight.nbytes

    def state_dict(self) -> dict[str, Array]:
        """Return the parameters, not copied; scales as (num_embeddings, 1), bfloat16 as uint16."""
        return self._weight.tensors()

    def config(self) -> dict[str, Any]:
        """Return what `from_state_dict` needs beside them."""
        named = {} if type(self)._stands_for(self._weight) else {"kind": self.kind}
        return {**named, **self._weight.form()}

    def __repr__(self) -> str:
        parts = [str(self.num_embeddings), str(self.embedding_dim)]
        parts += [f"kind={self.kind!r}"] * (not type(self)._stands_for(self._weight))
        parts += map("=".join, self._weight.described().items())
        return f"{type(self).__name__}({', '.join(parts)})"


class FloatEmbedding(Embedding):
    """A float32 table.

    Parameters
    ----------
    weight : float32 array, shape (num_embeddings, embedding_dim)
        Kept as it is.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> octavo.nn.FloatEmbedding(np.eye(2, dtype=np.float32))([[1]])
    array([[[0., 1.]]], dtype=float32)
    """

    kinds = ("float32",)

    def __init__(self, weight: ArrayLike) -> None:
        self._weight = FloatWeight(weight)


class HalfEmbedding(Embedding):
    """A table in 16 bits.

    Parameters
    ----------
    weight : float16 array, or uint16 array of the bits of bfloat16, shape (num_embeddings,
        embedding_dim)
        Kept as it is.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> octavo.nn.HalfEmbedding.from_float(np.eye(2, dtype=np.float32))([[1]])
    array([[[0., 1.]]], dtype=float32)
    """

    kinds = ("float16", "bfloat16")

    def __init__(self, weight: ArrayLike) -> None:
        self._weight = half_weight(weight)

    @classmethod
    def from_float(  # type: ignore[override]
        cls: type[H], weight: ArrayLike, *, dtype: str = "float16"
    ) -> H:
        """Round a float table, finite, to ``"float16"`` or ``"bfloat16"``."""
        kind = _checks.choice(dtype, "dtype", cls.kinds)
        return super().from_float(weight, kind=kind)

    @classmethod
    def from_state_dict(cls: type[H], state: Mapping[str, Any], **config: Any) -> H:
        """Rebuild a table from `state_dict()` and `config()`."""
        _state.check_keys(state, ("weight",))
        return super().from_state_dict(state, kind=half_weight(state["weight"]).kind, **config)

    @property
    def dtype(self) -> str:
        """How the table is held: "float16" or "bfloat16"."""
        return self.kind


Embedding.shorthands += [FloatEmbedding, HalfEmbedding]


def is_embedding(layer: object, *kinds: str) -> TypeGuard[Embedding]:
    """Whether something is a table, with a weight of one of these kinds if any are given.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> octavo.nn.is_embedding(octavo.nn.FloatEmbedding(np.eye(2)), "float32", "float16")
    True
    """
    return isinstance(layer, Embedding) and (not kinds or layer.kind in kinds)
