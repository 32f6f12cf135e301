# SPDX-License-Identifier: Apache-2.0
"""How likely a decoder holds the tokens of a text."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from octavo._types import Float32, Int64
from octavo.models.cache import Cache
from octavo.models.decoder import Decoder

_LOGITS_AT_ONCE = 1 << 25


def token_losses(
    model: Decoder,
    ids: Int64,
    known: int = 1,
    on_tokens: Callable[[int], None] = lambda _: None,
) -> npt.NDArray[np.float64]:
    """Return minus the natural logarithms of the probabilities of a text's tokens.

    Parameters
    ----------
    model : Decoder
    ids : int64 array, shape (tokens,)
        Checked; one or more.
    known : int
        How many at the beginning are not predicted, 1 or more.
    on_tokens : callable
        Called with how many were run of all but the last, from time to time.

    Returns
    -------
    float64 array, shape (tokens - known,)
    """
    cache = Cache(model)
    step = max(1, _LOGITS_AT_ONCE // model.config.vocab_size)
    losses = np.empty(len(ids) - 1)
    for start in range(0, len(losses), step):
        some = slice(start, min(start + step, len(losses)))
        losses[some] = _losses(model(ids[some], cache), ids[1:][some])
        on_tokens(some.stop)
    return losses[known - 1 :]


def _losses(logits: Float32, wanted: Int64) -> list[float]:
    found = []
    for row, token in zip(logits, wanted, strict=True):
        below = row - row.max()
        found.append(float(np.log(np.exp(below).sum(dtype=np.float64)) - below[token]))
    return found
