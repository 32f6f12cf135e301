# SPDX-License-Identifier: Apache-2.0
"""A copy of a model with other layers in it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar, cast

from octavo import nn

Model = TypeVar("Model", bound=nn.Module)


def map_layers(model: Model, transform: Callable[[str, nn.Module], nn.Module]) -> Model:
    """Return a copy of `model` whose leaves are ``transform(name, leaf)``; what stays is shared."""
    return cast("Model", _map("", model, transform))


def untied(model: Model) -> Model:
    """Return a copy of a model, sharing its layers, but for those that occur more than once.

    So that what is seen or made of a layer belongs to one name.
    """
    seen: set[int] = set()

    def own(_: str, layer: nn.Module) -> nn.Module:
        if id(layer) in seen:
            return copy.copy(layer)
        seen.add(id(layer))
        return layer

    return map_layers(model, own)


def _map(
    name: str, module: nn.Module, transform: Callable[[str, nn.Module], nn.Module]
) -> nn.Module:
    if not any(True for _ in module.named_children()):
        return transform(name, module)
    twin = object.__new__(type(module))
    for key, value in vars(module).items():
        path = f"{name}.{key}" if name else key
        if isinstance(value, nn.Module):
            value = _map(path, value, transform)
        elif isinstance(value, (list, tuple)) and any(isinstance(v, nn.Module) for v in value):
            value = type(value)(
                _map(f"{path}.{index}", item, transform) for index, item in enumerate(value)
            )
        twin.__dict__[key] = value
    return twin
