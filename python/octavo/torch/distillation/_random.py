# SPDX-License-Identifier: Apache-2.0
"""The random generators of the process: seeded while training, put back afterwards."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch


def seed_of(*parts: int) -> int:
    """Return a seed for every combination of numbers, unlike for each."""
    text = ",".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:4], "little")


class Generators:
    """PyTorch's generator of the CPU, Python's, NumPy's, and those that `data` brings along.

    As a context manager it leaves all of them as they were.
    """

    def __init__(self, own: Iterable[Any] = ()) -> None:
        self._own = list(own)

    def seed(self, *parts: int) -> None:
        """Seed all of them from some numbers."""
        seed = seed_of(*parts)
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002  (data sets draw from it)
        for generator in self._own:
            generator.manual_seed(seed)

    def state(self) -> dict[str, Any]:
        """Return where they stand, in types that `torch.load` takes as mere weights."""
        name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
        return {
            "torch": torch.default_generator.get_state(),
            "python": random.getstate(),
            "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
            "data": [generator.get_state() for generator in self._own],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where they stood."""
        torch.default_generator.set_state(state["torch"])
        version, internal, gauss = state["python"]
        random.setstate((version, tuple(internal), gauss))
        name, keys, *rest = state["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
        for generator, kept in zip(self._own, state["data"], strict=True):
            generator.set_state(kept)

    def __enter__(self) -> Generators:
        self._before = self.state()
        return self

    def __exit__(self, *_: object) -> None:
        self.restore(self._before)
