# SPDX-License-Identifier: Apache-2.0
"""One text that a decoder continues: its tokens, what chooses them, and when it ends."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from octavo.models.sampling import Sampling, log_probability

if TYPE_CHECKING:
    from octavo._types import Float32, Int64
    from octavo.lora.adapter import Adapter
    from octavo.models.cache import Cache
    from octavo.models.generation_options import Limits
    from octavo.models.running_text import RunningText

_LONGEST_GRAM = 3


@dataclass(frozen=True)
class Generated:
    """What `octavo.models.Decoder.generate` made of one prompt.

    Attributes
    ----------
    ids : list of int
        The new tokens, the one that ended the text among them.
    text : str or None
        What they say, up to a stop string; None of a prompt of token ids without a tokenizer.
    reason : str
        Why it ended: "end" for a token that ends texts, "stop" for a stop string or token of
        yours, "length", or "streamer" if that asked for it.
    log_probs : list of float or None
        The logarithm of each token's probability by the model's logits, as they were before
        penalties, processors and temperature.
    prompt_tokens, cached_tokens : int
        Of the prompt, and how many of those were in the cache.
    first_seconds, seconds : float
        Until the first token was there, and the last.
    """

    ids: list[int]
    text: str | None
    reason: str
    log_probs: list[float] | None
    prompt_tokens: int
    cached_tokens: int
    first_seconds: float
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        """How fast tokens came after the first one."""
        spent = self.seconds - self.first_seconds
        return (len(self.ids) - 1) / spent if spent > 0 else 0.0

    def __str__(self) -> str:
        return str(self.ids) if self.text is None else self.text


@dataclass
class Continuation:
    """A text under way.

    Attributes
    ----------
    ids : list of int
        Prompt and new tokens.
    cache : Cache
        Holds the first of those that the model sees; the ones behind are run next. It is this
        text's alone from `begin` on.
    """

    ids: list[int]
    cache: Cache
    adapter: Adapter | None
    sampling: Sampling
    seed: int
    limits: Limits
    running: RunningText | None
    reason: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    log_probs: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._times = 0.0, 0.0
        self.prompt_tokens = len(self.ids)
        self._dropped = self.limits.window.dropped(len(self.ids))
        self._drafted: list[int] = []
        # Where the token behind some tokens stood last; of how many tokens that is noted.
        self._grams: dict[tuple[int, ...], int] = {}
        self._noted = 0
        if not self.limits.most:
            self.reason = "length"

    def begin(self) -> None:
        """Find what the cache holds of the prompt, and forget what it holds beyond."""
        self._begun = time.perf_counter()
        self._keep_common_beginning()
        self.cached_tokens = len(self.cache)

    def _keep_common_beginning(self) -> None:
        """Forget what the cache holds beyond what is seen, whose last token is always run."""
        self.cache.settle()
        seen = self.limits.window.seen(self.ids, self._dropped)
        held = self.cache.ids[: len(seen) - 1]
        same = np.array(held) == np.array(seen[: len(held)])
        self.cache.settle(len(held) if same.all() else int(same.argmin()))

    @property
    def made(self) -> int:
        """How many tokens are behind the prompt."""
        return len(self.ids) - self.prompt_tokens

    def next_rows(self) -> tuple[Int64, int]:
        """Return the tokens to run next, and of how many, the last ones, logits are needed."""
        window = self.limits.window
        dropped = window.dropped(len(self.ids))
        if dropped != self._dropped:
            self._dropped = dropped
            self._keep_common_beginning()
        pending = window.seen(self.ids, dropped, len(self.cache))
        self._drafted = self._draft()
        return np.array(pending + self._drafted, np.int64), 1 + len(self._drafted)

    def take(self, logits: Float32) -> list[int]:
        """Choose tokens of the logits of `next_rows`; return them.

        Those behind a drafted token count as long as the drafted one is what is chosen: they are
        what its logits would have been anyway.
        """
        before = len(self.ids)
        for row, drafted in zip(logits, [*self._drafted, None], strict=True):
            token = self.sampling.choose(row, self.ids, self.seed, self.made)
            self._append(token, row)
            if self.reason or token != drafted:
                break
        self.cache.settle(len(self.ids) - self._dropped - 1)
        now = time.perf_counter() - self._begun
        self._times = (self._times[0] or now, now)
        return self.ids[before:]

    def _append(self, token: int, row: Float32) -> None:
        self.ids.append(token)
        limits = self.limits
        if limits.has_log_probs:
            self.log_probs.append(log_probability(row, token))
        if token in limits.end_ids:
            self.reason = "end"
            return
        if self.running is not None:
            self.running.add(token)
        if token in limits.stop_ids or (self.running is not None and self.running.stopped):
            self.reason = "stop"
        elif self.made >= limits.most or self._is_full():
            self.reason = "length"

    def _is_full(self) -> bool:
        positions, kept = self.limits.window
        return kept is None and len(self.ids) > positions

    def _draft(self) -> list[int]:
        """Guess tokens: those that came where the last ones stood before, again and again."""
        limits = self.limits
        room = min(
            limits.drafts,
            limits.most - self.made - 1,
            limits.window.positions - (len(self.ids) - self._dropped),
        )
        if room <= 0:
            return []
        ids = self.ids
        for end in range(self._noted, len(ids)):
            for size in range(2, _LONGEST_GRAM + 1):
                if end >= size:
                    self._grams[tuple(ids[end - size : end])] = end
        self._noted = len(ids)
        for size in range(_LONGEST_GRAM, 1, -1):
            start = self._grams.get(tuple(ids[-size:]))
            if start is not None:
                period = len(ids) - start
                return [ids[start + place % period] for place in range(room)]
        return []

    def result(self) -> Generated:
        """Return what came of it."""
        text = None
        if self.running is not None:
            self.running.finish()
            text = self.running.text
        return Generated(
            self.ids[self.prompt_tokens :],
            text,
            self.reason,
            self.log_probs if self.limits.has_log_probs else None,
            self.prompt_tokens,
            self.cached_tokens,
            *self._times,
        )
