# SPDX-License-Identifier: Apache-2.0
"""An activation as a layer."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from octavo import _checks
from octavo._ops.floats import activation
from octavo._types import Array
from octavo.nn.module import Module


class Activation(Module):
    """Apply an activation, element by element.

    Parameters
    ----------
    name : "none", "relu", "gelu", "gelu_tanh", "silu" or "tanh"

    Examples
    --------
    >>> import octavo
    >>> octavo.nn.Activation("relu")([-1.0, 2.0])
    array([0., 2.], dtype=float32)
    """

    def __init__(self, name: str) -> None:
        self.name = _checks.choice(name, "name", _checks.ACTIVATIONS)

    def __call__(self, x: ArrayLike, *, out: Array | None = None) -> Array:
        """Turn a float32 array of any shape into one of the same shape: `out`, or a new one.

        `out` may be `x`.
        """
        return activation(x, self.name, out)

    def config(self) -> dict[str, Any]:
        """Return the options of the layer."""
        return {"name": self.name}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"
