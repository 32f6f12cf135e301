# SPDX-License-Identifier: Apache-2.0
"""A layer that takes adapters: the one it was, and what each adapter has for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from octavo import _checks, nn
from octavo._types import Array
from octavo.lora.switch import ByRows, Switch
from octavo.nn import SidePath
from octavo.nn.traced import NotTraceableError, Traced
from octavo.qtensor import QTensor


class AdaptedLayer(nn.Module):
    """``activation(base(x) + side(x)) + residual``, or an adapter's own layer in place of the base.

    The side path's result goes into the epilogue of the base's product, before the activation.
    """

    def __init__(self, base: nn.Module, switch: Switch) -> None:
        self._base, self._switch = base, switch
        # Another dict for each change, which programs made of the layer then see.
        self.parts: Mapping[str, SidePath | nn.Module] = {}

    def __call__(self, x: Any, *args: Any, **options: Any) -> Any:
        """Apply the base with what the adapter in use has; arguments are those of the base."""
        choice = self._switch.current()
        base: Any = self._base
        if isinstance(choice, ByRows):
            return base(x, *args, **options, addend=self._by_rows(x, choice))
        part = None if choice is None else self.parts.get(choice)
        if part is None:
            return base(x, *args, **options)
        if not isinstance(part, SidePath):
            return part(x, *args, **options)
        if isinstance(x, Traced):
            return base(x, *args, **options, addend=part(x))
        floats = _checks.as_float32(x.dequantize() if isinstance(x, QTensor) else x, "x")
        k = base.in_features
        if floats.ndim == 0 or floats.shape[-1] != k:
            raise ValueError(f"x: expected shape (..., {k}), got {floats.shape}")
        return base(x, *args, **options, addend=part(floats))

    def _by_rows(self, x: Any, choice: ByRows) -> Array | None:
        """Return what adapters add, each to its rows (M, K) of x."""
        base: Any = self._base
        if isinstance(x, Traced):
            raise NotTraceableError("adapters by rows are no steps")
        held = {self.parts[name]: rows for name, rows in choice.rows.items() if name in self.parts}
        if not held:
            return None
        # Adding -0 changes no bit of the other rows.
        added = np.full((len(x), base.out_features), -0.0, np.float32)
        for part, rows in held.items():
            added[rows] = part(x[rows])
        return added

    @property
    def base(self) -> nn.Module:
        """The layer that was there."""
        return self._base

    @property
    def names(self) -> set[str]:
        """The adapters that have something here."""
        return set(self.parts)

    def add(self, name: str, part: SidePath | nn.Module) -> None:
        """Take what an adapter has for this layer."""
        self.parts = {**self.parts, name: part}

    def forget(self, name: str) -> None:
        """Let go of an adapter."""
        self.parts = {key: part for key, part in self.parts.items() if key != name}

    def state_dict(self) -> dict[str, Array]:
        """Return the parameters of the base."""
        return self._base.state_dict()

    @property
    def nbytes(self) -> int:
        """Bytes of the base and of what adapters have here."""
        return self._base.nbytes + sum(part.nbytes for part in self.parts.values())

    def __repr__(self) -> str:
        return f"AdaptedLayer({self._base!r}, adapters={sorted(self.names)})"


def base_of(layer: nn.Module) -> nn.Module:
    """Return the layer below adapters, or the layer itself."""
    return layer.base if isinstance(layer, AdaptedLayer) else layer
