# SPDX-License-Identifier: Apache-2.0
"""The shapes that a model's linear layers ask for, read from its file alone."""

from __future__ import annotations

import os
from collections.abc import Sequence

from octavo.io.checkpoint import Checkpoint


def layer_shapes(
    folder: str | os.PathLike[str], rows: Sequence[int] = (1, 128)
) -> tuple[tuple[int, int, int], ...]:
    """Return the distinct (m, n, k) of the linear layers of a safetensors model, of any family.

    Embeddings and tables of positions are left out: nobody multiplies by them.
    """
    checkpoint = Checkpoint(folder)
    found: dict[tuple[int, int], None] = {}
    for name in checkpoint:
        shape = checkpoint.shape(name)
        if name.endswith(".weight") and len(shape) == 2 and "embed" not in name:
            found[shape[0], shape[1]] = None
    if not found:
        raise ValueError(f"{folder}: no linear layer: no two-dimensional '.weight'")
    return tuple((m, n, k) for n, k in found for m in rows)
