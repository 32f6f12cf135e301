# SPDX-License-Identifier: Apache-2.0
"""Keeping the most sensitive layers in float until a target holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from octavo import _checks
from octavo.compression.bias_correction import correct_biases
from octavo.compression.sensitivity import agreement, vectors_of, work_sensitivity
from octavo.compression.work import Work
from octavo.models.encoder import Encoder

METRICS = ("cosine", "sqnr")
_FORMS = '{"cosine": 0.998}, {"sqnr": 30}, {"metric": callable, "at_least": 0.85} or a pair of both'


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
    metric : "cosine", "sqnr" or callable
        Of the sentence vectors of the calibration data, against those of the float model: their
        mean cosine, or their signal-to-quantization-noise ratio in decibels. Or a function of the
        compressed model that returns a number, the larger the better: accuracy on labelled data,
        say.
    at_least : float

    Examples
    --------
    >>> from octavo.compression import Target
    >>> Target("cosine", 0.998).name
    'cosine'
    """

    metric: str | Callable[[Any], float]
    at_least: float

    def __post_init__(self) -> None:
        if not callable(self.metric):
            _checks.choice(self.metric, "target: metric", METRICS)
        where = f"target: {self.name if self.metric == self.name else 'at_least'}"
        _checks.real(self.at_least, where, "(0, 1)" if self.metric == "cosine" else "")

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
        if set(target) == {"metric", "at_least"}:
            return Target(target["metric"], target["at_least"])
        if len(target) == 1 and (key := next(iter(target))) in METRICS:
            return Target(key, target[key])
        raise ValueError(f"target: expected {_FORMS}, got the keys {sorted(map(str, target))}")
    if isinstance(target, tuple) and len(target) == 2:
        return Target(*target)
    raise TypeError(f"target: expected {_FORMS}, got {type(target).__name__}")


def meet(work: Work, target: Target) -> tuple[Encoder, dict[str, Any]]:
    """Return the compressed model with the fewest layers in float that reaches a target.

    Layers are kept in the order of their sensitivity, but tables of embeddings larger than any
    linear layer come last. How many are needed is found by doubling and then halving. What is
    returned is what was measured, with the record for the model's recipe: metric, at_least,
    reached, kept.
    """
    search = _Search(work, target)
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
    """Compressed models with more and more layers in float, and what each reached."""

    def __init__(self, work: Work, target: Target) -> None:
        self._work, self._forms, self._target = work, work.forms, target
        self._order: list[str] = []
        self._tried: dict[int, float] = {}
        self._best: tuple[int, Encoder] | None = None
        self._reference: Any = None
        if isinstance(target.metric, str):
            self._reference = vectors_of(work.original, work.batches)
            if not np.isfinite(self._reference).all():
                raise ValueError(
                    "model: expected finite outputs on the calibration data, got NaN or infinity"
                )

    @property
    def most(self) -> int:
        """How many layers could be kept."""
        return len(self._order)

    def rank(self) -> None:
        """Find the order in which layers are kept."""
        rows = list(work_sensitivity(self._work))
        if isinstance(self._target.metric, str):
            heads = tuple(f"{name}." for name, _ in self._work.model.heads())
            rows = [row for row in rows if not heads or not row.name.startswith(heads)]
        widest = max((row.float_bytes for row in rows if row.kind == "linear"), default=0)
        # The sort is stable: the most sensitive stay first.
        rows.sort(key=lambda row: row.kind != "linear" and row.float_bytes > widest)
        self._order = [row.name for row in rows]

    def holds(self, count: int) -> bool:
        """Whether the target holds with so many layers kept; ends at one model for each count."""
        made = self._forms.model(self._work.model, frozenset(self._order[:count]))
        made = correct_biases(self._work, made)
        value = self._measure(made, count)
        self._tried[count] = value
        bound = self._target.at_least
        self._work.progress(
            f"{self._target.name} {value:.5g} of {bound:.5g} with {_layers(count)} in "
            f"{self._forms.keep}",
            min(1.0, len(self._tried) / 12),
        )
        if value < bound:
            return False
        if self._best is None or count < self._best[0]:
            self._best = count, made
        return True

    def result(self) -> tuple[Encoder, dict[str, Any]]:
        """Return the model with the fewest layers in float that reached the target."""
        assert self._best is not None
        count, made = self._best
        record = {
            "metric": self._target.name,
            "at_least": self._target.at_least,
            "reached": self._tried[count],
            "kept": self._order[:count],
        }
        return made, record

    def failure(self) -> TargetNotMetError:
        """Return the error of a target that even the most layers did not reach."""
        count = max(self._tried, key=lambda tried: (self._tried[tried], -tried))
        value = self._tried[count]
        return TargetNotMetError(
            f"target: expected a {self._target.name} of at least {self._target.at_least:g}, got "
            f"at most {value:.6g}, with {_layers(count)} of {self.most} in {self._forms.keep}; "
            f"{self._tried[0]:.6g} with none",
            value,
            self._order[:count],
        )

    def _measure(self, made: Encoder, count: int) -> float:
        metric = self._target.metric
        if isinstance(metric, str):
            cosine, _, sqnr = agreement(self._reference, vectors_of(made, self._work.batches))
            value: Any = cosine if metric == "cosine" else sqnr
            if math.isnan(value):
                raise ValueError(
                    f"model: expected finite outputs, got NaN (with {_layers(count)} in "
                    f"{self._forms.keep})"
                )
        else:
            try:
                value = metric(made)
            except Exception as error:
                raise RuntimeError(
                    f"target: {self._target.name} raised {type(error).__name__}: {error} (with "
                    f"{_layers(count)} in {self._forms.keep})"
                ) from error
            value = _checks.real(value, f"target: result of {self._target.name}")
        return float(value)


def _layers(count: int) -> str:
    return "1 layer" if count == 1 else f"{count} layers"
