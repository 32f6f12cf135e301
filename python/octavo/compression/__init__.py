# SPDX-License-Identifier: Apache-2.0
"""Making a model smaller: one function, recipes by name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from octavo.compression.int8 import int8_layer
from octavo.models.encoder import Encoder
from octavo.models.loader import load_with
from octavo.models.tree import map_layers

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo import nn

__all__ = ["RECIPES", "compress"]

RECIPES: dict[str, Callable[[str, nn.Module], nn.Module]] = {"int8": int8_layer}


def compress(
    model: Encoder | str | os.PathLike[str],
    recipe: str = "int8",
    *,
    on_layer: Callable[[str], None] | None = None,
) -> Encoder:
    """Compress a model, layer by layer.

    With a path, each layer is read, converted and let go before the next is read, so the float
    model is never in memory as a whole.

    Parameters
    ----------
    model : Encoder or path
        A loaded model, which is left as it is, or a model folder.
    recipe : str
        ``"int8"``: int8 weights with a scale per output channel, activations quantized per token
        while running; embeddings int8 with a scale per row; norms stay float32.
    on_layer : callable, optional
        Called with each layer's name after it was converted.

    Returns
    -------
    Encoder
        The compressed model. Layers that are int8 already are kept.

    Raises
    ------
    ValueError
        For an unknown recipe, or a weight that is not finite; the message names it.

    Examples
    --------
    >>> import octavo
    >>> octavo.compress("some/folder", recipe="int3")
    Traceback (most recent call last):
    ...
    ValueError: recipe: expected one of int8, got 'int3'
    """
    if not isinstance(recipe, str):
        raise TypeError(f"recipe: expected a name, got {type(recipe).__name__}")
    convert = RECIPES.get(recipe)
    if convert is None:
        raise ValueError(f"recipe: expected one of {', '.join(RECIPES)}, got {recipe!r}")

    def transform(name: str, layer: nn.Module) -> nn.Module:
        converted = convert(name, layer)
        if on_layer is not None:
            on_layer(name)
        return converted

    if isinstance(model, Encoder):
        return map_layers(model, transform)
    if isinstance(model, (str, os.PathLike)):
        return load_with(model, transform)
    raise TypeError(f"model: expected a model or a folder, got {type(model).__name__}")
