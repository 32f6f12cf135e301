# SPDX-License-Identifier: Apache-2.0
"""A weight in a file: what is written of it, and where it is read from."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from octavo._types import Array

if TYPE_CHECKING:
    import numpy as np


class StoredTensor(NamedTuple):
    """One tensor of a weight in a file; made when its turn comes.

    Attributes
    ----------
    key : str
        Its name after the layer's: ``"weight"``, ``"weight_scale"``.
    code : str, optional
        The name of its type in the file, if the dtype does not tell.
    """

    key: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    make: Callable[[], Array]
    code: str | None = None

    @classmethod
    def of(cls, key: str, array: Array, code: str | None = None) -> StoredTensor:
        """Return a tensor that is there already."""
        return cls(key, array.dtype, array.shape, lambda: array, code)


class Stored(NamedTuple):
    """A weight as a file holds it.

    Attributes
    ----------
    tensors : list of StoredTensor
    scheme : dict, optional
        What of `octavo.io.scheme.Scheme` the weight decides; None: it is no quantized
        weight, and its dtype says it all.
    """

    tensors: list[StoredTensor]
    scheme: dict[str, Any] | None


class TensorReader(Protocol):
    """The tensors of one layer in a file, by the part of their names after the layer's."""

    def __contains__(self, key: object) -> bool: ...

    def name(self, key: str) -> str:
        """Return a tensor's whole name, for messages."""

    def dtype(self, key: str) -> str:
        """Return the name of its type: "F32", "BF16", "I8", ..."""

    def float32(self, key: str, shape: tuple[int, ...] | None = None) -> Array:
        """Read floats as float32."""

    def int8(self, key: str, shape: tuple[int, ...] | None = None) -> Array:
        """Read codes as they are stored."""

    def half(self, key: str, shape: tuple[int, ...] | None = None) -> Array:
        """Read 16 bits as they are stored."""

    def raw(self, key: str) -> Array:
        """Read anything as it is stored."""

    def scale(self, key: str, rows: int) -> Array:
        """Read positive scales, (rows,)."""

    def is_sparse(self, key: str) -> bool:
        """Whether it is stored without its zeros."""

    def is_shared(self, key: str) -> bool:
        """Whether how it is stored does not tell if its zeros are meant to be left out."""
