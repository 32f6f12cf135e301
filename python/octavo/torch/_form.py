# SPDX-License-Identifier: Apache-2.0
"""What of a linear layer is no tensor, as a text that operators take."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from octavo import nn
from octavo._types import Array
from octavo.nn import LinearOptions, SidePath
from octavo.nn.options import OPTIONS
from octavo.nn.weights import Weight, weight_class

# What modules of PyTorch do themselves, and what is a tensor.
_OTHERS = ("activation", "output_scale", "output_zero_point", "input_multiplier")
_NUMBERS = tuple(name for name in OPTIONS if name not in _OTHERS)


class Form(NamedTuple):
    """A linear layer without its tensors.

    Attributes
    ----------
    kind : str
        The weight's, as `octavo.nn.weights` calls it.
    shape : tuple of int
        (out_features, in_features)
    asked : dict
        How the weight is held, as its `from_parts` takes it.
    options : dict
        Of the layer.
    """

    kind: str
    shape: tuple[int, int]
    asked: dict[str, Any]
    options: dict[str, Any]

    @classmethod
    def of(cls, layer: nn.Linear, asked: dict[str, Any] | None = None) -> Form:
        """Return that of a layer whose weight is to be held as `asked`, by default as it is."""
        for name, default in (("activation", "none"), ("output_scale", None)):
            value = getattr(layer.options, name)
            if value != default:
                raise ValueError(f"{name}: expected {default} for a torch module, got {value!r}")
        options = {name: getattr(layer.options, name) for name in _NUMBERS}
        weight = layer.held_weight
        return cls(weight.kind, weight.shape, weight.form() if asked is None else asked, options)

    def text(self, names: tuple[str, ...]) -> str:
        """Return it as operators take it, together with the names of the tensors they get."""
        return json.dumps([names, *self])

    @staticmethod
    @lru_cache(maxsize=1024)
    def read(text: str) -> tuple[tuple[str, ...], Form]:
        """Return the names of the tensors, and the form, of a text."""
        names, kind, shape, *rest = json.loads(text)
        return tuple(names), Form(kind, tuple(shape), *rest)

    def weight(self, arrays: Mapping[str, Array]) -> Weight:
        """Return the weight alone, as `layer` makes it."""
        return weight_class(self.kind).from_parts(arrays, self.shape, **self.asked)

    def layer(self, arrays: Mapping[str, Array], bias: Array | None) -> nn.Linear:
        """Return the layer with some arrays; it may use their memory."""
        weight = self.weight(arrays)
        options = LinearOptions(**self.options, input_multiplier=arrays.get("input_multiplier"))
        side = SidePath.from_tensors(arrays, self.shape)
        return nn.Linear.of(weight, bias, options, side)


def beside_weight(layer: nn.Linear) -> dict[str, Any]:
    """Return the arrays of a layer beside weight and bias."""
    known = {"bias", *layer.options.static()}
    return {key: value for key, value in layer.state_beside_weight().items() if key not in known}
