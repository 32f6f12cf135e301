# SPDX-License-Identifier: Apache-2.0
"""The arguments of `generate`, checked; `octavo.models.Decoder.generate` says what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from octavo import _checks
from octavo._text import shown
from octavo.models.context_window import ContextWindow
from octavo.models.sampling import Processor, Sampling

if TYPE_CHECKING:
    from octavo.models.cache import Cache

_MOST_DRAFTS = 64
_MOST_SEED = (1 << 64) - 1
_ONLY_DRAWN = ("top_k", "top_p", "min_p")


@dataclass
class Limits:
    """When texts end, and what is noted on the way.

    Attributes
    ----------
    most : int
        New tokens of a text.
    window : ContextWindow
        What the model sees of them.
    end_ids, stop_ids : frozenset of int
        Tokens that end texts, and those that the caller wants to.
    drafts : int
        How many tokens are guessed at once.
    has_log_probs : bool
    """

    most: int
    window: ContextWindow
    end_ids: frozenset[int]
    stop_ids: frozenset[int]
    drafts: int
    has_log_probs: bool


@dataclass
class Options:
    """What `generate` takes beside prompts."""

    max_new_tokens: int = 256
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    seed: int | Sequence[int] = 0
    stop: str | int | Sequence[str | int] | None = None
    eos_token_id: int | Sequence[int] | None = None
    streamer: Any = None
    logits_processor: Processor | Sequence[Processor] | None = None
    prompt_lookup_num_tokens: int = 0
    cache: Cache | Sequence[Cache] | None = None
    return_log_probs: bool = False
    adapter: Any = ...
    context_shift: bool = False
    n_keep: int | None = None

    def sampling(self) -> Sampling:
        """Return how tokens are chosen."""
        if self.temperature is None:
            for name in _ONLY_DRAWN:
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"{name}: expected none without a temperature, got {getattr(self, name)!r}"
                    )
        given = self.logits_processor
        processors = () if given is None else (given,) if callable(given) else tuple(_listed(given))
        for one in processors:
            if not callable(one):
                raise TypeError(f"logits_processor: expected a function, got {shown(one)}")
        plain = Sampling()
        return Sampling(
            self._real("temperature", plain.temperature, "[0, inf)"),
            plain.top_k if self.top_k is None else _checks.integer(self.top_k, "top_k", 0),
            self._real("top_p", plain.top_p, "(0, 1]"),
            self._real("min_p", plain.min_p, "[0, 1]"),
            self._real("repetition_penalty", plain.repetition_penalty, "[0.001, 1000]"),
            processors,
        )

    def _real(self, name: str, default: float, interval: str) -> float:
        value = getattr(self, name)
        return default if value is None else _checks.real(value, name, interval)

    def limits(self, positions: int, end_ids: Sequence[int], vocab_size: int) -> Limits:
        """Return when texts end, of a model with these positions, ends and tokens."""
        if self.eos_token_id is not None:
            end_ids = _ids(self.eos_token_id, "eos_token_id", vocab_size)
        stops = [one for one in self._stops() if not isinstance(one, str)]
        return Limits(
            _checks.integer(self.max_new_tokens, "max_new_tokens", 0),
            ContextWindow(positions, self._kept(positions)),
            frozenset(end_ids),
            frozenset(_ids(stops, "stop", vocab_size, "strings or tokens")),
            _checks.integer(
                self.prompt_lookup_num_tokens, "prompt_lookup_num_tokens", 0, _MOST_DRAFTS
            ),
            _checks.boolean(self.return_log_probs, "return_log_probs"),
        )

    def _kept(self, positions: int) -> int | None:
        """Return how many tokens stay where a text is longer than the context; None: an error."""
        if _checks.boolean(self.context_shift, "context_shift"):
            kept = min(1, positions - 1) if self.n_keep is None else self.n_keep
            return _checks.integer(kept, "n_keep", 0, positions - 1)
        if self.n_keep is not None:
            raise ValueError(f"n_keep: expected none without context_shift, got {self.n_keep!r}")
        return None

    def stop_strings(self) -> list[str]:
        """Return the strings at which texts end."""
        found = [one for one in self._stops() if isinstance(one, str)]
        if "" in found:
            raise ValueError("stop: expected strings with a character, got an empty one")
        return found

    def _stops(self) -> list[Any]:
        return [] if self.stop is None else _listed(self.stop)

    def seeds(self, count: int) -> list[int]:
        """Return the seed of each prompt."""
        is_list = isinstance(self.seed, (list, tuple, np.ndarray))
        given: list[Any] = list(self.seed) if is_list else [self.seed] * count  # type: ignore[arg-type]
        if len(given) != count:
            raise ValueError(f"seed: expected one, or one for each of {count} prompts, got {given}")
        return [_checks.integer(one, "seed", 0, _MOST_SEED) for one in given]

    def adapters(self, count: int, active: str | None) -> list[str | None]:
        """Return the name of each prompt's adapter, of those in use where nothing is said."""
        given = active if self.adapter is ... else self.adapter
        names = list(given) if isinstance(given, (list, tuple)) else [given] * count
        for name in names:
            if name is not None and not isinstance(name, str):
                raise TypeError(f"adapter: expected names or None, got {shown(name)}")
        if len(names) != count:
            raise ValueError(
                f"adapter: expected one, or one for each of {count} prompts, got {len(names)}"
            )
        return names

    def caches(self, count: int) -> list[Cache] | None:
        """Return the cache of each prompt, if there are any."""
        if self.cache is None:
            return None
        given: list[Any] = _listed(self.cache)
        if len(given) != count:
            raise ValueError(f"cache: expected one for each of {count} prompts, got {len(given)}")
        return given


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]


def _ids(value: Any, name: str, vocab_size: int, kinds: str = "tokens") -> list[int]:
    try:
        return [_checks.integer(one, name, 0, vocab_size - 1) for one in _listed(value)]
    except TypeError:
        raise TypeError(f"{name}: expected {kinds}, got {shown(value)}") from None
