# SPDX-License-Identifier: Apache-2.0
"""What a weight is: numbers (N, K) in some form, and what can be done with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from octavo._formats import DENSE
from octavo._types import Array
from octavo.nn.options import LinearOptions
from octavo.nn.weights.stored import Stored, TensorReader

W = TypeVar("W", bound="Weight")
# Modules of PyTorch have a `weight` that is something else.
_SHOWN = {"weight": "packed"}

Layout = dict[str, tuple[np.dtype[Any], tuple[int | None, ...]]]
"""Type and shape of each tensor that holds a weight; None stands for any size."""


class Bound(Protocol):
    """A weight together with a bias and options: what a layer calls."""

    @property
    def bias(self) -> Array | None:
        """The bias, (N,)."""

    @property
    def input_multiplier(self) -> Array | None:
        """What the columns of the input are multiplied by, (K,)."""

    @property
    def nbytes(self) -> int:
        """Bytes of all of it."""

    @property
    def call(self) -> Callable[..., Array | None] | None:
        """What applies the layer to plain float32 arrays of any leading shape, if that is fast.

        ``call(x, residual, addend, out)`` returns None for all else: the layer then checks
        and converts it, and gives it to `run`.
        """

    def run(
        self,
        x: Array,
        residual: Array | None = None,
        addend: Array | None = None,
        out: Array | None = None,
    ) -> Array:
        """Apply the layer to rows (M, K), with what is added to the result, (M, N).

        `out`, if given, is checked and takes the result.
        """


class Memory(NamedTuple):
    """The arrays by which another framework knows a weight that a layer computes with.

    Attributes
    ----------
    tensors : dict of str to array
        Named as nothing that a module of such a framework has.
    bias : array or None
    whole : bool
        Whether `Weight.from_parts` can make the weight of copies of them.
    """

    tensors: dict[str, Array]
    bias: Array | None
    whole: bool = True


class Weight(ABC):
    """The numbers of a linear layer or a table: N rows of K, never changed.

    A new kind is a subclass, and a row of `octavo.nn.weights.KINDS`.

    Attributes
    ----------
    kind : str
        The word that files and reports use: "int8", "float32", ...
    coarse : bool
        Whether numbers lose so much that a model's tables and its last layer keep more bits.
    takes : frozenset of str
        The `LinearOptions` that a layer with such a weight can have.
    keys : tuple of str
        What its part of a state dict is called.
    optional_keys : tuple of str
        What may be there besides.
    shape : tuple of int
        (N, K)
    """

    kind: ClassVar[str]
    coarse: ClassVar[bool] = False
    takes: ClassVar[frozenset[str]] = frozenset({"activation"})
    keys: ClassVar[tuple[str, ...]] = ("weight",)
    optional_keys: ClassVar[tuple[str, ...]] = ()

    shape: tuple[int, int]

    @property
    def format(self) -> str:
        """How the numbers lie in memory: "dense", or without the zeros."""
        return DENSE

    @property
    def leaves_zeros_out(self) -> bool:
        """Whether zeros are there for good: memory and files make use of them where it pays."""
        return False

    @property
    @abstractmethod
    def bits(self) -> int:
        """Bits of one number."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes it holds."""

    @property
    def sparsity(self) -> float:
        """The share of numbers that are zero; 1.0 if there are none."""
        return 1.0 - np.count_nonzero(self.dequantized()) / max(1, self.shape[0] * self.shape[1])

    @classmethod
    @abstractmethod
    def from_float(cls: type[W], values: ArrayLike, **form: Any) -> W:
        """Make one of a float matrix, finite unless the kind can hold what is not."""

    @classmethod
    @abstractmethod
    def from_tensors(cls: type[W], tensors: Mapping[str, Any], **form: Any) -> W:
        """Make one of `tensors()` and `form()`."""

    @classmethod
    @abstractmethod
    def read(cls: type[W], tensors: TensorReader, shape: tuple[int, int], role: str) -> W:
        """Read one from a file; `role` is that of the layer, "linear" or "embedding"."""

    @abstractmethod
    def tensors(self) -> dict[str, Array]:
        """Return what a state dict holds of it, under `keys`."""

    def form(self) -> dict[str, Any]:
        """Return what `from_tensors` needs beside them."""
        return {}

    def portable(self) -> dict[str, Array]:
        """Return what state dicts and programs of other frameworks hold of it, on every machine."""
        return self.tensors()

    def layouts(self) -> list[Layout]:
        """List how weights of its shape may come: as `portable` gives this one, then others."""
        return [{key: (array.dtype, array.shape) for key, array in self.portable().items()}]

    def memory(self, bound: Bound) -> Memory:
        """Return the arrays that a layer computes with, as far as they can be shown."""
        tensors = {_SHOWN.get(key, key): array for key, array in self.tensors().items()}
        return Memory(tensors, bound.bias)

    @classmethod
    def from_parts(
        cls: type[W], parts: Mapping[str, Any], shape: tuple[int, int], **form: Any
    ) -> W:
        """Make one of copies of `memory` or `portable`, checked.

        Raises
        ------
        KeyError
            If there are too few.
        TypeError, ValueError
            If they are no such weight of this shape.
        """
        tensors = {key: parts[key if key in parts else _SHOWN.get(key, key)] for key in cls.keys}
        tensors |= {key: parts[key] for key in cls.optional_keys if key in parts}
        made = cls.from_tensors(tensors, **form)
        if made.shape != shape:
            raise ValueError(f"weight: expected shape {shape}, got {made.shape}")
        return made

    def shareable(self) -> dict[str, Array]:
        """Return the arrays of which `attach` makes the same weight, without another copy of them.

        They go into memory that processes share, so that they are the form that this machine
        computes with.
        """
        return self.tensors()

    @classmethod
    def attach(cls: type[W], arrays: Mapping[str, Any], shape: tuple[int, int], **form: Any) -> W:
        """Make one of `shareable()` and `form()`, over the same memory, which nobody may write to.

        Parameters
        ----------
        arrays : mapping of str to read-only arrays
            Checked: whatever they hold, nothing beside them is read.
        shape : (N, K)

        Raises
        ------
        KeyError, TypeError, ValueError
            If they are no such weight of this shape.
        """
        made = cls.from_tensors(arrays, **form)
        if made.shape != shape:
            raise ValueError(f"weight: expected shape {shape}, got {made.shape}")
        return made

    @abstractmethod
    def stored(self, store: str, shares: bool) -> Stored:
        """Return it as a file holds it.

        Parameters
        ----------
        store : "plain" or "zstd"
            Whether the file is compressed afterwards.
        shares : bool
            Whether few different values may be written as a codebook.
        """

    @abstractmethod
    def bind(self, bias: Array | None, options: LinearOptions) -> Bound:
        """Return what a layer calls."""

    @abstractmethod
    def dequantized(self) -> Array:
        """Return the numbers as float32, (N, K)."""

    def rows(self, start: int, stop: int) -> Array:
        """Return some rows as float32."""
        return self.dequantized()[start:stop]

    @abstractmethod
    def like(self: W, values: ArrayLike) -> W:
        """Return other numbers in a form of the same kind, dense."""

    def times(self, multiplier: Array) -> Weight | None:  # noqa: ARG002
        """Return its columns multiplied; None where the kind cannot do that without loss."""
        return None

    @abstractmethod
    def lookup(self, ids: Array, out: Array) -> None:
        """Write rows as float32 into `out`, shape ``(*ids.shape, K)``."""

    def described(self) -> dict[str, str]:
        """Return what the repr of a layer tells of it beside its shape."""
        return {}
