# SPDX-License-Identifier: Apache-2.0
"""What a linear layer does besides the product with its weight."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from octavo import _checks
from octavo._types import Array
from octavo.nn import _state


@dataclass(frozen=True, eq=False)
class LinearOptions:
    """The options of a linear layer; `octavo.nn.Linear` takes them by these names.

    Attributes
    ----------
    activation : "none", "relu", "gelu", "gelu_tanh", "silu" or "tanh"
    symmetric : bool
        Quantize the rows of `x` symmetrically.
    input_scale, input_zero_point : float, int, optional
        Quantize `x` with these instead of each row's own range.
    output_scale, output_zero_point : float, int, optional
        Return a `QTensor` of int8 codes with these instead of float32.
    input_multiplier : float array, optional
        A finite value of at least 0 for each column of `x`, by which it is multiplied before
        anything else; the weight has been divided by it, or leaves columns out that have 0.

    Examples
    --------
    >>> from octavo.nn import LinearOptions
    >>> LinearOptions(activation="gelu").symmetric
    False
    """

    activation: str = "none"
    symmetric: bool = False
    input_scale: float | None = None
    input_zero_point: int = 0
    output_scale: float | None = None
    output_zero_point: int = 0
    input_multiplier: Array | None = None

    def checked(self, k: int, taken: Collection[str], kind: str) -> LinearOptions:
        """Return these for a weight with K inputs, checked; errors name the option.

        Parameters
        ----------
        k : int
        taken : collection of str
            What the weight can do; the others have to be left alone.
        kind : str
            The weight's, for the message.
        """
        made = LinearOptions(
            _checks.choice(self.activation, "activation", _checks.ACTIVATIONS),
            _checks.boolean(self.symmetric, "symmetric"),
            *static_parameters("input", self.input_scale, self.input_zero_point),
            *static_parameters("output", self.output_scale, self.output_zero_point),
            checked_multiplier(self.input_multiplier, k),
        )
        for field in fields(made):
            value, default = getattr(made, field.name), field.default
            untouched = value is None if default is None else value == default
            if field.name not in taken and not untouched:
                raise ValueError(
                    f"{field.name}: expected none with a weight of kind {kind!r}, got {value!r}"
                )
        return made

    def replace(self, **changes: Any) -> LinearOptions:
        """Return the same options with some of them changed."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return the options by name; values are not copied."""
        return {name: getattr(self, name) for name in OPTIONS}

    def static(self) -> dict[str, Array]:
        """Return fixed scales and zero points as a state dict has them."""
        state = {}
        for side in ("input", "output"):
            scale = getattr(self, f"{side}_scale")
            if scale is not None:
                point = getattr(self, f"{side}_zero_point")
                state[f"{side}_scale"] = np.array([scale], np.float32)
                state[f"{side}_zero_point"] = np.array([point], np.int8)
        return state


OPTIONS = tuple(field.name for field in fields(LinearOptions))
"""Their names."""


def static_parameters(side: str, scale: Any, zero_point: Any) -> tuple[float | None, int]:
    """Check the fixed parameters of one side; a zero point without a scale means nothing."""
    point = _checks.integer(zero_point, f"{side}_zero_point", -128, 127)
    if scale is not None:
        scale = _checks.scalar_scale(scale, f"{side}_scale")
    elif point:
        raise ValueError(f"{side}_zero_point: expected 0 without {side}_scale, got {point}")
    return scale, point


def checked_multiplier(values: Any, k: int) -> Array | None:
    """Check what the columns of the input are multiplied by: (K,), or None."""
    if values is None:
        return None
    array = _state.parameter(values, (k,), "input_multiplier")
    good = np.isfinite(array) & (array >= 0)
    if not good.all():
        raise ValueError(
            f"input_multiplier: expected finite values of at least 0, got {array[~good][0]}"
        )
    return array
