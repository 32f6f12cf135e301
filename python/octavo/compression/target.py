# SPDX-License-Identifier: Apache-2.0
"""Keeping the most sensitive layers in float until a target holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from octavo import _checks

METRICS = ("cosine", "sqnr", "perplexity")
AT_MOST = ("perplexity",)
_FORMS = (
    '{"cosine": 0.998}, {"sqnr": 30}, {"perplexity": 1.015}, {"metric": callable, "at_least": 0.85}'
    " or a pair of both"
)


class TargetNotMetError(ValueError):
    """No choice of layers in float reaches the target.

    Attributes
    ----------
    value : float
        The closest that was reached.
    kept : list of str
        The layers that were float then.
    """

    def __init__(self, message: str, value: float, kept: list[str]) -> None:
        super().__init__(message)
        self.value, self.kept = value, kept


@dataclass(frozen=True)
class Target:
    """What a compressed model has to reach.

    Parameters
    ----------
    metric : "cosine", "sqnr", "perplexity" or callable
        Of an encoder's sentence vectors of the calibration data, against those of the float model:
        their mean cosine, or their signal-to-quantization-noise ratio in decibels. Of a decoder,
        its perplexity on the calibration data over that of the float model, which attends in
        float32. Or a function of the compressed model that returns a number: accuracy on labelled
        data, say.
    at_least : float, optional
    at_most : float, optional
        Of a perplexity, this; of a callable, one of the two.

    Examples
    --------
    >>> from octavo.compression import Target
    >>> Target("cosine", 0.998).name
    'cosine'
    >>> Target("perplexity", at_most=1.015).holds(1.01)
    True
    """

    metric: str | Callable[[Any], float]
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        if not callable(self.metric):
            _checks.choice(self.metric, "target: metric", METRICS)
        if (self.at_least is None) == (self.at_most is None):
            which = "both" if self.at_least is not None else "neither"
            raise ValueError(f"target: expected at_least or at_most, got {which}")
        if isinstance(self.metric, str) and (self.metric in AT_MOST) != self.is_most:
            wanted = "at_most" if self.metric in AT_MOST else "at_least"
            raise ValueError(f"target: {self.metric}: expected {wanted}, got {self.side}")
        where = f"target: {self.name if self.metric == self.name else self.side}"
        bounds = {"cosine": "(0, 1)", "perplexity": "(0, inf)"}
        named = isinstance(self.metric, str)
        _checks.real(self.bound, where, bounds.get(self.name, "") if named else "")

    @property
    def is_most(self) -> bool:
        """Whether smaller is better."""
        return self.at_most is not None

    @property
    def side(self) -> str:
        """Which of the two bounds there is."""
        return "at_most" if self.is_most else "at_least"

    @property
    def bound(self) -> float:
        """The bound."""
        return getattr(self, self.side)

    def holds(self, value: float) -> bool:
        """Whether a value reaches the target."""
        return value <= self.bound if self.is_most else value >= self.bound

    @property
    def name(self) -> str:
        """What the metric is called."""
        if isinstance(self.metric, str):
            return self.metric
        return str(getattr(self.metric, "__name__", type(self.metric).__name__))


def read_target(target: object) -> Target:
    """Return the target that a dict or a pair stands for; see `octavo.compress`."""
    if isinstance(target, Target):
        return target
    if isinstance(target, Mapping):
        if set(target) in ({"metric", "at_least"}, {"metric", "at_most"}):
            return Target(**target)
        if len(target) == 1 and (key := next(iter(target))) in METRICS:
            return Target(key, **{"at_most" if key in AT_MOST else "at_least": target[key]})
        raise ValueError(f"target: expected {_FORMS}, got the keys {sorted(map(str, target))}")
    if isinstance(target, tuple) and len(target) == 2:
        return Target(*target)
    raise TypeError(f"target: expected {_FORMS}, got {type(target).__name__}")


class Candidates(Protocol):
    """Compressed models with some layers kept, and how they are measured.

    Attributes
    ----------
    keep : str
        What kept layers are.
    """

    keep: str

    def ranked(self) -> list[str]:
        """Return the names of layers in the order in which they are kept."""

    def made(self, kept: frozenset[str]) -> Any:
        """Return the compressed model that keeps these layers."""

    def measured(self, made: Any, metric: str) -> float:
        """Return what a compressed model reaches by a metric that has a name."""

    def for_callable(self, made: Any) -> Any:
        """Return what a metric of the user's gets of a compressed model."""

    def progress(self, text: str, share: float) -> None:
        """Tell what is going on and the share that is done."""


def meet(candidates: Candidates, target: Target) -> tuple[Any, dict[str, Any]]:
    """Return the compressed model with the fewest layers kept that reaches a target.

    How many are needed is found by doubling and then halving. What is returned is what was
    measured, with the record for the model's recipe: metric, at_least or at_most, reached, kept.
    """
    search = _Search(candidates, target)
    if not search.holds(0):
        search.rank()
        low, high = 0, 1
        while not search.holds(min(high, search.most)):
            if high >= search.most:
                raise search.failure()
            low, high = high, 2 * high
        high = min(high, search.most)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if search.holds(middle) else (middle, high)
    return search.result()


class _Search:
    """Compressed models with more and more layers kept, and what each reached."""

    def __init__(self, candidates: Candidates, target: Target) -> None:
        self._candidates, self._target = candidates, target
        self._order: list[str] = []
        self._tried: dict[int, float] = {}
        self._best: tuple[int, Any] | None = None

    @property
    def most(self) -> int:
        """How many layers could be kept."""
        return len(self._order)

    def rank(self) -> None:
        """Find the order in which layers are kept."""
        self._order = self._candidates.ranked()

    def holds(self, count: int) -> bool:
        """Whether the target holds with so many layers kept; ends at one model for each count."""
        made = self._candidates.made(frozenset(self._order[:count]))
        value = self._measure(made, count)
        self._tried[count] = value
        self._candidates.progress(
            f"{self._target.name} {value:.5g} of {self._target.bound:.5g} with {_layers(count)} in "
            f"{self._candidates.keep}",
            min(1.0, len(self._tried) / 12),
        )
        if not self._target.holds(value):
            return False
        if self._best is None or count < self._best[0]:
            self._best = count, made
        return True

    def result(self) -> tuple[Any, dict[str, Any]]:
        """Return the model with the fewest layers in float that reached the target."""
        assert self._best is not None
        count, made = self._best
        record = {
            "metric": self._target.name,
            self._target.side: self._target.bound,
            "reached": self._tried[count],
            "kept": self._order[:count],
        }
        return made, record

    def failure(self) -> TargetNotMetError:
        """Return the error of a target that even the most layers did not reach."""
        sign, words = (-1, ("most", "least")) if self._target.is_most else (1, ("least", "most"))
        count = max(self._tried, key=lambda tried: (sign * self._tried[tried], -tried))
        value = self._tried[count]
        return TargetNotMetError(
            f"target: expected a {self._target.name} of at {words[0]} {self._target.bound:g}, "
            f"got at {words[1]} {value:.6g}, with {_layers(count)} of {self.most} in "
            f"{self._candidates.keep}; {self._tried[0]:.6g} with none",
            value,
            self._order[:count],
        )

    def _measure(self, made: Any, count: int) -> float:
        metric = self._target.metric
        if isinstance(metric, str):
            value: Any = self._candidates.measured(made, metric)
            if math.isnan(value):
                raise ValueError(
                    f"model: expected finite outputs, got NaN (with {_layers(count)} in "
                    f"{self._candidates.keep})"
                )
        else:
            try:
                value = metric(self._candidates.for_callable(made))
            except Exception as error:
                raise RuntimeError(
                    f"target: {self._target.name} raised {type(error).__name__}: {error} (with "
                    f"{_layers(count)} in {self._candidates.keep})"
                ) from error
            value = _checks.real(value, f"target: result of {self._target.name}")
        return float(value)


def _layers(count: int) -> str:
    return "1 layer" if count == 1 else f"{count} layers"
