# SPDX-License-Identifier: Apache-2.0
"""The layers that an architecture asks for, and how they follow on each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from octavo._types import Int64
    from octavo.models.decoder import Decoder
    from octavo.models.encoder import Encoder


class LayerSpec(NamedTuple):
    """One layer as the architecture asks for it."""

    kind: str
    shape: tuple[int, ...]
    activation: str = "none"
    epsilon: float = 0.0
    offset: float = 0.0
    """What loading adds to the weight of a norm."""


class Pair(NamedTuple):
    """A layer and its readers, between which a positive factor of a channel just passes.

    Channel i of what each of the readers reads is channel ``outputs(n)[i]`` of what `first` gives:
    as it is, through ReLU, as a weighted mean over tokens, or times something else. It reaches
    nothing else.

    Attributes
    ----------
    first : str
    readers : tuple of str
        Layers that read the same.
    start : int
        The first channel that is read.
    shared_by : int
        How many heads of what is read are one of what is given, each of `head_size` channels.
    head_size : int
    """

    first: str
    readers: tuple[str, ...]
    start: int = 0
    shared_by: int = 1
    head_size: int = 1

    def outputs(self, inputs: int) -> Int64:
        """Return which channel of what `first` gives each of so many is."""
        head, place = np.divmod(np.arange(inputs), self.head_size)
        return self.start + head // self.shared_by * self.head_size + place

    def alike(self, inputs: int) -> Int64 | None:
        """Return `outputs` where some are equal, which have one factor; None where none are."""
        return self.outputs(inputs) if self.shared_by > 1 else None


class _SpecBuilder:
    """A `LayerSource` that only writes down what it is asked for."""

    def __init__(self, has: Callable[[str], bool]) -> None:
        self.has = has
        self.specs: dict[str, LayerSpec] = {}

    def linear(
        self, name: str, outputs: int, inputs: int, activation: str = "none", **_: bool
    ) -> None:
        """Note a linear layer."""
        self.specs[name] = LayerSpec("linear", (outputs, inputs), activation)

    def embedding(self, name: str, rows: int, columns: int) -> None:
        """Note an embedding."""
        self.specs[name] = LayerSpec("embedding", (rows, columns))

    def layer_norm(self, name: str, size: int, epsilon: float, **_: bool) -> None:
        """Note a layer norm."""
        self.specs[name] = LayerSpec("layer_norm", (size,), epsilon=epsilon)

    def rms_norm(self, name: str, size: int, epsilon: float, offset: float = 0.0) -> None:
        """Note a norm by the root mean square."""
        self.specs[name] = LayerSpec("rms_norm", (size,), epsilon=epsilon, offset=offset)


def layer_specs(model: Encoder | Decoder) -> dict[str, LayerSpec]:
    """List the layers that a model's architecture asks for, by their names in a checkpoint."""
    builder = _SpecBuilder({name for name, _ in model.named_modules()}.__contains__)
    # The architecture's own class: one that is made of it may be made another way.
    family = next(cls for cls in type(model).__mro__ if "architecture" in vars(cls))
    family(model.config, builder)
    return builder.specs
