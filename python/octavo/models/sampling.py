# SPDX-License-Identifier: Apache-2.0
"""The choice of the next token: the likeliest, or a drawn one, the same on every machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from octavo import _checks
from octavo._elementary import exp, log
from octavo._types import Array, Float32, Float64, Int64

Processor = Callable[[Int64, Float32], Any]
"""Gets tokens (1, T) and scores (1, vocab_size), as transformers' do, and returns scores."""

# Nothing that is e**64 times less likely than the likeliest token is ever drawn.
_LEAST = -64.0
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
        top = scores.max()
        if not np.isfinite(top):
            raise ValueError(f"logits: expected a finite largest one, got {top}")
        if not self.temperature:
            return int(scores.argmax())
        kept = np.arange(len(scores))
        if 0 < self.top_k < len(scores):
            place = len(scores) - self.top_k
            kept = np.flatnonzero(scores >= np.partition(scores, place)[place])
        with np.errstate(over="ignore"):
            powers = (scores[kept].astype(np.float64) - float(top)) / self.temperature
        kept, powers = _where(powers >= _LEAST, kept, powers)
        weights = exp(powers)
        if self.top_p < 1:
            kept, weights = _likeliest(kept, weights, self.top_p)
        if self.min_p > 0:
            kept, weights = _where(weights >= self.min_p, kept, weights)
        sums = np.cumsum(weights)
        drawn = np.searchsorted(sums, uniform(seed, step) * sums[-1], side="right")
        return int(kept[min(int(drawn), len(kept) - 1)])

    def _scores(self, logits: Float32, history: Sequence[int]) -> Float32:
        if self.repetition_penalty != 1:
            logits = logits.copy()
            seen = np.unique(np.array(history))
            penalty, values = np.float32(self.repetition_penalty), logits[seen]
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
    powers = logits.astype(np.float64) - float(logits.max())
    total = np.cumsum(exp(powers[powers >= _LEAST]))[-1]
    return float(powers[token] - log(total))


def uniform(seed: int, step: int) -> float:
    """Return a number in [0, 1) that depends on both alone: a hash, after SplitMix64."""
    return (_mixed((_mixed(seed) + step * _GOLDEN) & _BITS) >> 11) * 2.0**-53


def _mixed(state: int) -> int:
    state = (state + _GOLDEN) & _BITS
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _BITS
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _BITS
    return state ^ (state >> 31)


def _where(mask: Array, kept: Array, values: Float64) -> tuple[Array, Float64]:
    return kept[mask], values[mask]


def _likeliest(kept: Array, weights: Float64, share: float) -> tuple[Array, Float64]:
    """Return the fewest tokens whose weights are at least this share of all."""
    total = np.cumsum(weights)[-1]
    # All weights below this one together are less than what may be left out: not worth sorting.
    least = (1 - share) * total / len(weights)
    kept, weights = _where(weights >= least, kept, weights)
    order = np.argsort(-weights, kind="stable")
    count = int(np.searchsorted(np.cumsum(weights[order]), share * total)) + 1
    return kept[order[:count]], weights[order[:count]]
