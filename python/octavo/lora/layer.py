# SPDX-License-Identifier: Apache-2.0
"""A layer that takes adapters: the one it was, and what each adapter has for it."""

from __future__ import annotations

from typing import Any

from octavo import _checks, nn
from octavo._types import Array
from octavo.lora.switch import Switch
from octavo.nn import SidePath
from octavo.qtensor import QTensor


class AdaptedLayer(nn.Module):
    """``activation(base(x) + side(x)) + residual``, or an adapter's own layer in place of the base.

    The side path's result goes into the epilogue of the base's product, before the activation.
    """

    def __init__(self, base: nn.Module, switch: Switch) -> None:
        self._base, self._switch = base, switch
        self._parts: dict[str | None, SidePath | nn.Module] = {}

    def __call__(self, x: Any, *args: Any, **options: Any) -> Any:
        """Apply the base with what the adapter in use has; arguments are those of the base."""
        part = self._parts.get(self._switch.current())
        base: Any = self._base
        if part is None:
            return base(x, *args, **options)
        if not isinstance(part, SidePath):
            return part(x, *args, **options)
        floats = _checks.as_float32(x.dequantize() if isinstance(x, QTensor) else x, "x")
        k = base.in_features
        if floats.ndim == 0 or floats.shape[-1] != k:
            raise ValueError(f"x: expected shape (..., {k}), got {floats.shape}")
        return base(x, *args, addend=part(floats), **options)

    @property
    def base(self) -> nn.Module:
        """The layer that was there."""
        return self._base

    @property
    def names(self) -> set[str]:
        """The adapters that have something here."""
        return {name for name in self._parts if name is not None}

    def add(self, name: str, part: SidePath | nn.Module) -> None:
        """Take what an adapter has for this layer."""
        self._parts[name] = part

    def forget(self, name: str) -> None:
        """Let go of an adapter."""
        self._parts.pop(name, None)

    def state_dict(self) -> dict[str, Array]:
        """Return the parameters of the base."""
        return self._base.state_dict()

    @property
    def nbytes(self) -> int:
        """Bytes of the base and of what adapters have here."""
        return self._base.nbytes + sum(part.nbytes for part in self._parts.values())

    def __repr__(self) -> str:
        return f"AdaptedLayer({self._base!r}, adapters={sorted(self.names)})"


def base_of(layer: nn.Module) -> nn.Module:
    """Return the layer below adapters, or the layer itself."""
    return layer.base if isinstance(layer, AdaptedLayer) else layer
