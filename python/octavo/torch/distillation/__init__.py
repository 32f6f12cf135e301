# SPDX-License-Identifier: Apache-2.0
"""Knowledge distillation: a small model learns to give what a large one gives.

`distill` trains, `student_of` makes a student of a teacher, `Objective` and `Training` say what is
learned and how long. The losses are plain functions, for training loops of one's own.
"""

from __future__ import annotations

from octavo.torch.distillation.losses import (
    attention_loss,
    cosine_loss,
    hidden_loss,
    label_loss,
    pool,
    soft_target_loss,
)
from octavo.torch.distillation.mapping import layer_pairs
from octavo.torch.distillation.objective import Objective
from octavo.torch.distillation.result import Distilled
from octavo.torch.distillation.run import distill
from octavo.torch.distillation.student import student_of
from octavo.torch.distillation.training import Training

__all__ = [
    "Distilled",
    "Objective",
    "Training",
    "attention_loss",
    "cosine_loss",
    "distill",
    "hidden_loss",
    "label_loss",
    "layer_pairs",
    "pool",
    "soft_target_loss",
    "student_of",
]
