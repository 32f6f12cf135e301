# SPDX-License-Identifier: Apache-2.0
"""What a distillation gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Distilled:
    """A student that has learned, and how it went.

    Attributes
    ----------
    student : torch.nn.Module
        The one that was handed over, in evaluation mode, with its best weights.
    history : list of dict
        For each step: ``step`` (from 1), ``epoch`` (from 1), ``learning_rate``, ``loss``, and each
        part of the loss by its name, without its weight.
    evaluations : list of (int, float)
        Steps and what the metric said after them.
    best_step : int
        The step whose weights the student has: the best evaluation's, or the last one.
    best_metric : float or None
        What the metric said there.
    steps : int
        Steps that were made.
    stopped_early : bool
        Whether patience ran out.
    projections : torch.nn.ModuleDict
        The learned maps from the student's width to the teacher's, where widths differ.
    """

    student: nn.Module
    history: list[dict[str, float]]
    evaluations: list[tuple[int, float]]
    best_step: int
    best_metric: float | None
    steps: int
    stopped_early: bool
    projections: Any

    def losses(self, last: int = 50) -> dict[str, float]:
        """Return the loss and its parts, the mean over the last steps."""
        recent = self.history[-last:]
        names = {key: None for entry in recent for key in entry}
        means = {}
        for name in names:
            if name in ("step", "epoch", "learning_rate"):
                continue
            values = [entry[name] for entry in recent if name in entry]
            means[name] = sum(values) / len(values)
        return means
