# SPDX-License-Identifier: Apache-2.0
"""From the hidden states of a row's tokens to one vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo._float_mode import in_default_mode
from octavo._types import Float32

# How the tokens that count become one vector. The weights grow from 1 at the row's first token.
POOLINGS: dict[str, Callable[[Float32, Float32], Any]] = {
    "cls": lambda states, _: states[0],
    "max": lambda states, _: states.max(axis=0),
    "mean": lambda states, _: np.add.reduce(states, axis=0) / np.float32(len(states)),
    "mean_sqrt_len_tokens": lambda states, _: (
        np.add.reduce(states, axis=0) / np.sqrt(np.float32(len(states)))
    ),
    "weightedmean": lambda states, weights: (
        (states * weights[:, None]).sum(axis=0) / weights.sum(dtype=np.float32)
    ),
    "lasttoken": lambda states, _: states[-1],
}


@in_default_mode
def pool(
    hidden: Float32, mask: npt.NDArray[np.bool_] | None, modes: Sequence[str], skipped: int = 0
) -> Float32:
    """Return a vector for each row; zeros for one without tokens.

    Parameters
    ----------
    hidden : float32 array, shape (batch, tokens, size)
    mask : bool array, shape (batch, tokens), or None
    modes : sequence of str
        Of `POOLINGS`; what each gives stands side by side.
    skipped : int
        How many tokens at the start of each row do not count.

    Returns
    -------
    numpy.ndarray of float32, shape (batch, number of modes * size)
    """
    rows, tokens, size = hidden.shape
    vectors = np.zeros((rows, len(modes), size), np.float32)
    counting = np.arange(1, tokens + 1, dtype=np.float32)
    for row, states in enumerate(hidden):
        kept, weights = states[skipped:], counting[skipped:]
        if mask is not None and not mask[row].all():
            places = np.flatnonzero(mask[row])
            weights = counting[places - places[:1]]
            if skipped:
                places, weights = places[weights > skipped], weights[weights > skipped]
            kept = states[places]
        if not len(kept):
            continue
        for index, mode in enumerate(modes):
            vectors[row, index] = POOLINGS[mode](kept, weights)
    return vectors.reshape(rows, len(modes) * size)
