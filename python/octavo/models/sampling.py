# SPDX-License-Identifier: Apache-2.0
"""The choice of the next token: the likeliest, or a drawn one, the same on every machine."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from octavo import _checks, functional
from octavo._elementary import log
from octavo._float_mode import in_default_mode
from octavo._types import Float32, Float64, Int64, Mask

Processor = Callable[[Int64, Float32], Any]
"""Gets tokens (1, T) and scores (1, vocab_size), as transformers' do, and returns scores."""

# Nothing that is e**64 times less likely than the likeliest token is ever drawn.
_LEAST = -64.0
_COLDEST = 1e-30
_GOLDEN, _BITS = 0x9E3779B97F4A7C15, (1 << 64) - 1


class Sampling(NamedTuple):
    """How the next token is chosen; `Decoder.generate` says what the fields mean."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    processors: tuple[Processor, ...] = ()

    def choose(self, logits: Float32, history: Sequence[int], seed: int, step: int) -> int:
        """Return the token behind `history`, of the logits (vocab_size,) of its last one."""
        scores = self._scores(logits, history)
        top = float(scores.max())
        if not math.isfinite(top):
            name = "logits_processor" if self.processors else "logits"
            raise ValueError(f"{name}: expected a finite largest score, got {top}")
        if not self.temperature:
            return int(scores.argmax())
        places: Int64 | None = None
        if 0 < self.top_k < len(scores):
            least = np.partition(scores, -self.top_k)[-self.top_k]
            places, scores = _cut(scores >= least, places, scores)
        weights = _weights(scores, top, self.temperature)
        if self.top_p < 1:
            places, weights = _cut(_likeliest(weights, self.top_p), places, weights)
        if self.min_p > 0:
            places, weights = _cut(weights >= self.min_p * weights.max(), places, weights)
        place = _drawn(weights, uniform(seed, step))
        return place if places is None else int(places[place])

    def _scores(self, logits: Float32, history: Sequence[int]) -> Float32:
        if self.repetition_penalty != 1:
            logits, seen = logits.copy(), np.array(history)
            values, penalty = logits[seen], np.float32(self.repetition_penalty)
            with np.errstate(over="ignore"):
                logits[seen] = np.where(values < 0, values * penalty, values / penalty)
        for processor in self.processors:
            ids = np.array(history, np.int64)[None]
            found = processor(ids, logits[None].copy())
            scores = _checks.as_float32(found, "logits_processor", float64=True)
            _checks.check_shape(scores, (1, len(logits)), "logits_processor")
            logits = scores[0]
        return logits


def log_probability(logits: Float32, token: int) -> float:
    """Return the logarithm of a token's share in the softmax of logits."""
    top = float(logits.max())
    weights = _weights(logits, top, 1.0)
    share = weights.max() / _sums(weights)[-1]
    return float(logits[token]) - top + float(log(share))


def uniform(seed: int, step: int) -> float:
    """Return a number in [0, 1) that depends on both alone: a hash, after SplitMix64."""
    return (_mixed((_mixed(seed) + step * _GOLDEN) & _BITS) >> 11) * 2.0**-53


def _mixed(state: int) -> int:
    state = (state + _GOLDEN) & _BITS
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _BITS
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _BITS
    return state ^ (state >> 31)


def _cut(mask: Mask, places: Int64 | None, values: Float32) -> tuple[Int64, Float32]:
    """Return the values of a mask, and where they are; `places` says where all are."""
    found = np.flatnonzero(mask)
    return (found if places is None else places[found]), values[found]


@in_default_mode
def _weights(scores: Float32, top: float, temperature: float) -> Float32:
    """Return the softmax of scores, of which `top` is the largest; 0 of what is never drawn."""
    powers = scores - np.float32(top)
    powers /= np.float32(min(max(temperature, _COLDEST), 1 / _COLDEST))
    weights: Float32 = functional.softmax(powers[None])[0]
    weights[powers < _LEAST] = 0
    return weights


@in_default_mode
def _sums(weights: Float32) -> Float64:
    """Return the sums of weights up to each, one after the other: the same on every machine."""
    sums = weights.astype(np.float64)
    return np.cumsum(sums, out=sums)


def _likeliest(weights: Float32, share: float) -> Mask:
    """Return which are the fewest whose sum is at least this share of all."""
    # All below this one together are less than what may be left out: not worth sorting.
    least = (1 - share) / len(weights)
    falling = np.sort(weights[weights >= least])[::-1]
    count = min(int(np.searchsorted(_sums(falling), share)) + 1, len(falling))
    last = falling[count - 1]
    mask = weights > last
    mask[np.flatnonzero(weights == last)[: count - np.count_nonzero(mask)]] = True
    return mask


def _drawn(weights: Float32, number: float) -> int:
    """Return a place by a number in [0, 1), each as likely as its weight says."""
    sums = _sums(weights)
    # Rounded to the sum of all, it would lie behind the last weight.
    below = min(number * sums[-1], np.nextafter(sums[-1], 0))
    return int(np.searchsorted(sums, below, side="right"))
