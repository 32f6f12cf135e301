# SPDX-License-Identifier: Apache-2.0
"""What layers with a weight have in common: what can be asked of it."""

from __future__ import annotations

from typing import Any, ClassVar

from octavo._types import Array
from octavo.nn.module import Module
from octavo.nn.weights import Weight


class Weighted(Module):
    """A layer that holds a `octavo.nn.weights.Weight`, of any kind."""

    kinds: ClassVar[tuple[str, ...]] = ("int8",)
    """The kinds that the class is named for; the first is what it makes of float numbers."""

    shorthands: ClassVar[list[Any]]
    """Of a general class: those that are names for its layers with some weights."""

    _weight: Weight

    @classmethod
    def _named(cls, *parts: Any) -> Any:
        """Return the class whose name a layer of these parts has."""
        names = vars(cls).get("shorthands", ())
        return next((name for name in names if name._stands_for(*parts)), cls)

    @classmethod
    def _stands_for(cls, weight: Weight, *_: Any) -> bool:
        """Whether this class is the name of a layer with such parts."""
        return weight.kind in cls.kinds

    @property
    def held_weight(self) -> Weight:
        """The weight as it is held; what can be asked of it, `octavo.nn.weights.Weight` says."""
        return self._weight

    @property
    def kind(self) -> str:  # type: ignore[override]
        """The kind of the weight: "int8", "float32", "float16" or "bfloat16"."""
        return self._weight.kind

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of the weight."""
        return self._weight.shape

    @property
    def format(self) -> str:
        """How the weight lies in memory: "dense" or one of `octavo.tuning.SPARSE_FORMATS`."""
        return self._weight.format

    @property
    def sparsity(self) -> float:
        """The share of weights that are zero."""
        return self._weight.sparsity

    @property
    def weight_codes(self) -> Array:
        """The codes of an int8 weight, (N, K); unpacked on every access, where they are packed."""
        return self._int8().codes

    @property
    def weight_scale(self) -> Array:
        """The scale of each row of an int8 weight, (N,) float32; not to be written to."""
        return self._int8().scale

    def _int8(self) -> Any:
        if self.kind != "int8":
            raise AttributeError(f"a layer with a weight of kind {self.kind!r} has no int8 codes")
        return self._weight
