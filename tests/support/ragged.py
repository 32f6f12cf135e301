# SPDX-License-Identifier: Apache-2.0
"""A batch of rows of all lengths."""

from __future__ import annotations

from typing import Any

import numpy as np

LENGTHS = (9, 0, 1, 12, 3, 12, 5)


def batch(prefix: bool) -> tuple[Any, Any]:
    """Rows of these lengths; without `prefix` there is padding between tokens."""
    ids = np.random.default_rng(5).integers(4, 60, (len(LENGTHS), 12))
    mask = np.arange(12) < np.array(LENGTHS)[:, None]
    if not prefix:
        mask[3, [2, 3, 7]] = mask[0, 0] = False
    return ids, mask
