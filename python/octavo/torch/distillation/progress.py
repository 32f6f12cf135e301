# SPDX-License-Identifier: Apache-2.0
"""What a run is told, and where it stands."""

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
