# SPDX-License-Identifier: Apache-2.0
"""What a distillation is told, where it stands, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from octavo.torch.distillation.objective import Objective
from octavo.torch.distillation.training import Training

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Settings:
    """Everything that a run is told, but for models and data."""

    objective: Objective
    training: Training
    seed: int
    metric: Callable[[nn.Module], float] | None
    checkpoint: Path | None
    on_progress: Callable[[str, float], None] | None
    run: dict[str, Any]
    student_before: str


@dataclass
class Progress:
    """Where a run stands: plain values, kept in checkpoints as they are."""

    step: int = 0
    epoch: int = 0
    position: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    evaluations: list[tuple[int, float]] = field(default_factory=list)
    best_step: int = 0
    best_metric: float | None = None
    without_better: int = 0
    stopped_early: bool = False
    done: bool = False


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
