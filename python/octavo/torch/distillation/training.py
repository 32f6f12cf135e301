# SPDX-License-Identifier: Apache-2.0
"""How long and how fast a student learns."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import torch
from torch import nn

from octavo import _checks

_Config = TypeVar("_Config")


@dataclass(frozen=True)
class Training:
    """AdamW with a warm-up and a linear decay to 0.

    Parameters
    ----------
    epochs : int
        How often the data is gone through.
    steps : int, optional
        The number of steps instead; needed for data without a length.
    batch_size : int
        Of sentences; data that comes in batches keeps its own.
    learning_rate : float
        At its highest.
    projection_learning_rate : float
        Of the projections, which start from nothing.
    warmup : float
        Share of the steps on which the rate rises, in [0, 1).
    weight_decay : float
        Of parameters with two axes or more: biases and norms do not decay.
    gradient_norm : float
        Gradients are scaled down to this norm where it is larger.
    evaluate_every : int, optional
        Steps between calls of the metric (default: once an epoch, at its end).
    patience : int, optional
        Stop after so many evaluations in a row without a better one.
    maximize : bool
        Whether a larger metric is a better one.
    checkpoint_every : int
        Steps between checkpoints.

    Raises
    ------
    TypeError, ValueError
        For values of another kind or out of range.

    Examples
    --------
    >>> from octavo.torch.distillation import Training
    >>> schedule = Training(learning_rate=1.0, warmup=0.2)
    >>> [schedule.rate(step, 10) for step in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.125]
    """

    epochs: int = 3
    steps: int | None = None
    batch_size: int = 32
    learning_rate: float = 5e-5
    projection_learning_rate: float = 1e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    gradient_norm: float = 1.0
    evaluate_every: int | None = None
    patience: int | None = None
    maximize: bool = True
    checkpoint_every: int = 100

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "checkpoint_every"):
            _checks.integer(getattr(self, name), name, 1)
        for name in ("steps", "evaluate_every", "patience"):
            if getattr(self, name) is not None:
                _checks.integer(getattr(self, name), name, 1)
        for name in ("learning_rate", "projection_learning_rate", "gradient_norm"):
            _checks.real(getattr(self, name), name, "(0, inf)")
        _checks.real(self.weight_decay, "weight_decay", "[0, inf)")
        _checks.real(self.warmup, "warmup", "[0, 1)")
        _checks.boolean(self.maximize, "maximize")

    def rate(self, step: int, total: int) -> float:
        """Return the share of the highest rate that step number `step` of `total` learns with."""
        rising = math.ceil(self.warmup * total)
        if step < rising:
            return (step + 1) / rising
        return max(0.0, (total - step) / (total - rising))


def optimizer_of(
    student: nn.Module, projections: nn.Module, training: Training
) -> torch.optim.Optimizer:
    """Return AdamW; "highest" of each group is what its learning rate rises to."""
    own = [p for p in student.parameters() if p.requires_grad]
    if not own:
        raise ValueError("student: expected parameters that require gradients, got none")
    decay, rate = training.weight_decay, training.learning_rate
    groups = [
        {"params": [p for p in own if p.ndim > 1], "highest": rate, "weight_decay": decay},
        {"params": [p for p in own if p.ndim <= 1], "highest": rate, "weight_decay": 0.0},
        {
            "params": list(projections.parameters()),
            "highest": training.projection_learning_rate,
            "weight_decay": decay,
        },
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=rate)


def configured(kind: type[_Config], value: Any, name: str) -> _Config:
    """Return `value`, a `kind` or the dict of its fields or None, as a `kind`.

    Examples
    --------
    >>> configured(Training, {"epochs": 5}, "training").epochs
    5
    """
    if value is None:
        return kind()
    if isinstance(value, kind):
        return value
    if not isinstance(value, dict):
        raise TypeError(f"{name}: expected {kind.__name__} or a dict, got {type(value).__name__}")
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for key in value:
        if key not in known:
            raise ValueError(f"{name}: expected the keys {', '.join(known)}, got {key!r}")
    return kind(**value)
