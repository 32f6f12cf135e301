# SPDX-License-Identifier: Apache-2.0
"""What `quantize_` did, layer by layer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Converted:
    """A layer that computes in integers now.

    Attributes
    ----------
    name : str
        The module's name in the model.
    kind : str
        ``"Linear"``, ``"Conv1D"``, ``"Conv2d"`` or ``"Embedding"``.
    shape : tuple of int
        (out_features, in_features), or (num_embeddings, embedding_dim); of a convolution, outputs
        and how many products each sums up.
    bytes_before, bytes_after : int
        What its numbers took and take; a weight shared with an earlier layer counts there.
    format : str
        ``"dense"``, or how a `SparseLinear` holds its weight.
    sparsity : float or None
        The share of zero weights of a `SparseLinear`.
    weight : "int8" or "int4"
        The kind of its weight.
    """

    name: str
    kind: str
    shape: tuple[int, int]
    bytes_before: int
    bytes_after: int
    format: str = "dense"
    sparsity: float | None = None
    weight: str = "int8"


@dataclass(frozen=True)
class Kept:
    """A layer that stayed float, or the weight of another module, and why.

    Attributes
    ----------
    name : str
        The module's name in the model.
    kind : str
        As for `Converted`; of other modules the class, and the parameter if it is not ``weight``.
    shape : tuple of int
        As for `Converted`; of other modules the parameter's.
    reason : str
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    reason: str


# Of several layers and of one.
_VERBS = {"int8": ("are", "is"), "training": ("train for", "trains for")}


@dataclass(frozen=True)
class Summary:
    """What became of each linear layer, embedding and convolution, and of other large weights.

    Attributes
    ----------
    converted, kept : tuple of Converted, tuple of Kept
        All linear layers, embeddings and convolutions; of other modules the weights of 32768
        numbers or more.
    state : "int8" or "training"
        What the first are: int8, or float and training for int8.

    Examples
    --------
    >>> from octavo.torch import Converted, Kept, Summary
    >>> print(Summary((Converted("fc", "Linear", (512, 384), 788480, 202752),),
    ...               (Kept("head", "Linear", (2, 512), "too small to gain"),)))
    1 layer is int8, 0.79 MB -> 0.20 MB; 1 stays float
      head  Linear 2x512: too small to gain
    """

    converted: tuple[Converted, ...] = ()
    kept: tuple[Kept, ...] = ()
    state: str = "int8"

    @classmethod
    def of(cls, module: nn.Module, converted: list[Converted], kept: list[Kept]) -> Summary:
        """Return a summary in the order of a model's layers."""
        order = {name: index for index, (name, _) in enumerate(module.named_modules())}
        return cls(tuple(sorted(converted, key=lambda layer: order[layer.name])), tuple(kept))

    @property
    def bytes_before(self) -> int:
        """Bytes of the converted layers before."""
        return sum(layer.bytes_before for layer in self.converted)

    @property
    def bytes_after(self) -> int:
        """Bytes of the converted layers now."""
        return sum(layer.bytes_after for layer in self.converted)

    def __str__(self) -> str:
        floats = len(self.kept)
        before, after = self.bytes_before / 1e6, self.bytes_after / 1e6
        lines = [
            f"{self._counts()}, {before:.2f} MB -> {after:.2f} MB;"
            f" {floats} stay{'s' if floats == 1 else ''} float"
        ]
        listed: list[tuple[Converted | Kept, str]] = [
            (layer, f"{layer.sparsity:.0%} zeros, held as {layer.format}")
            for layer in self.converted
            if layer.sparsity is not None and layer.format != "dense"
        ]
        listed += [(layer, layer.reason) for layer in self.kept]
        width = max((len(layer.name) for layer, _ in listed), default=0)
        lines += [
            f"  {layer.name:{width}}  {layer.kind} {'x'.join(map(str, layer.shape))}: {text}"
            for layer, text in listed
        ]
        return "\n".join(lines)

    def _counts(self) -> str:
        """Say how many layers there are of each kind of weight."""
        counts = Counter(layer.weight for layer in self.converted) or {"int8": 0}
        (kind, first), *others = sorted(counts.items())
        noun = "layer" if first == 1 else "layers"
        return f"{first} {noun} {_VERBS[self.state][first == 1]} {kind}" + "".join(
            f", {count} {kind}" for kind, count in others
        )
