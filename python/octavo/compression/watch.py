# SPDX-License-Identifier: Apache-2.0
"""Seeing what the layers of a module read while it runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from octavo import nn
from octavo.models.tree import map_layers

__all__ = ["Float32", "Reached", "See", "watch", "watched"]

Model = TypeVar("Model", bound=nn.Module)

Float32 = npt.NDArray[np.float32]
See = Callable[[str, Float32, "Float32 | None"], None]
"""Gets a layer's name, what it reads, and the residual that is added to its result."""


class Reached(Exception):  # noqa: N818  (no error: the rest of the run is not needed)
    """What was wanted has been seen."""


class _Watched(nn.Module):
    """A linear layer that shows its inputs before it computes."""

    def __init__(
        self, layer: nn.FloatLinear, see: Callable[[Float32, Float32 | None], None]
    ) -> None:
        self.layer = layer
        self._see = see

    def __call__(self, x: Float32, residual: Float32 | None = None) -> Float32:
        self._see(x, residual)
        return self.layer(x, residual)


def watch(module: nn.Module, names: Sequence[str], inputs: tuple[Any, ...], see: See) -> None:
    """Run ``module(*inputs)``, with `see` called before each of the named layers.

    Parameters
    ----------
    module : Module
        As before when this returns.
    names : sequence of str
        Paths of layers below it.
    inputs : tuple
    see : callable
        May raise `Reached` to end the run.
    """
    layers: dict[str, Any] = {name: module.get_submodule(name) for name in names}
    try:
        for name, layer in layers.items():
            module.set_submodule(name, _Watched(layer, partial(see, name)))
        module(*inputs)
    except Reached:
        pass
    finally:
        for name, layer in layers.items():
            module.set_submodule(name, layer)


def watched(model: Model, names: Collection[str], see: See) -> Model:
    """Return a copy of a model, sharing its layers, that calls `see` before each of the named ones.

    Parameters
    ----------
    model : Module
        Left as it is.
    names : collection of str
        Paths of float linear layers.
    see : callable
    """
    wanted = frozenset(names)

    def transform(name: str, layer: nn.Module) -> nn.Module:
        if name in wanted and isinstance(layer, nn.FloatLinear):
            return _Watched(layer, partial(see, name))
        return layer

    return map_layers(model, transform)
