# SPDX-License-Identifier: Apache-2.0
"""The tensors of one layer of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from octavo._text import shown
from octavo._types import Array
from octavo.io.checkpoint import Checkpoint
from octavo.nn.weights import Weight


class LayerReader:
    """The tensors of one layer; it notes which were asked for."""

    def __init__(self, checkpoint: Checkpoint, layer: str, used: set[str]) -> None:
        self._checkpoint, self.layer, self._used = checkpoint, layer, used

    def name(self, key: str) -> str:
        """Return a tensor's name without the checkpoint's prefix."""
        return f"{self.layer}.{key}"

    def _take(self, key: str) -> str:
        self._used.add(self.name(key))
        return self.name(key)

    def all_taken(self, weight: Weight) -> Weight:
        """Return a weight that was not read here."""
        self._used.update(n for n in self._checkpoint if n.startswith(f"{self.layer}."))
        return weight

    def __contains__(self, key: object) -> bool:
        return f"{self.layer}.{key}" in self._checkpoint

    def dtype(self, key: str) -> str:
        """Return the name of a tensor's type."""
        return self._checkpoint.dtype(self.name(key))

    def float32(self, key: str, shape: tuple[int, ...] | None = None) -> Array:
        """Read floats as float32."""
        return self._checkpoint.float32(self._take(key), shape)

    def rows(self, key: str, shape: tuple[int, int]) -> Callable[[int, int], Array]:
        """Return what reads some rows of a float matrix; its type and shape are checked now."""
        name = self._take(key)
        self._checkpoint.float32(name, shape, (0, 0))
        return lambda start, stop: self._checkpoint.float32(name, shape, (start, stop))

    def int8(self, key: str, shape: tuple[int, ...] | None = None) -> Array:
        """Read codes as they are stored."""
        return self._checkpoint.int8(self._take(key), shape)

    def half(self, key: str, shape: tuple[int, ...] | None = None) -> Array:
        """Read 16 bits as they are stored."""
        return self._checkpoint.half(self._take(key), shape)

    def raw(self, key: str) -> Array:
        """Read anything as it is stored."""
        return self._checkpoint.raw(self._take(key))

    def require_no_bias(self) -> None:
        """Let a bias be that the model has no place for, if it changes nothing.

        AutoGPTQ gave one of zeros to every layer.
        """
        if "bias" in self and self.float32("bias").any():
            raise ValueError(
                f"tensor {shown(self.name('bias'))}: the model that config.json describes has no"
                " place for it"
            )

    def is_sparse(self, key: str) -> bool:
        """Whether it is stored without its zeros."""
        return self._checkpoint.is_sparse(self.name(key))

    def is_shared(self, key: str) -> bool:
        """Whether how it is stored does not tell if its zeros are meant to be left out."""
        return self._checkpoint.is_shared(self.name(key))

    def scale(self, key: str, rows: int) -> Array:
        """Return positive scales, one for each row; a file may have one for all."""
        name = self._take(key)
        scale = self._checkpoint.float32(name)
        if scale.size not in (1, rows):
            shape = (rows, 1) if key == "weight_scale" else (rows,)
            raise ValueError(f"tensor {shown(name)} has shape {scale.shape}, expected {shape}")
        if not (np.isfinite(scale) & (scale > 0)).all():
            raise ValueError(f"tensor {shown(name)} holds a scale that is not positive and finite")
        return np.ascontiguousarray(np.broadcast_to(scale.reshape(-1), (rows,)))
