# SPDX-License-Identifier: Apache-2.0
"""An objective made to fit two models: weights, pairs of layers, projections; and its loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from octavo.torch.distillation import losses
from octavo.torch.distillation.batches import Batch
from octavo.torch.distillation.mapping import layer_pairs
from octavo.torch.distillation.objective import Objective
from octavo.torch.distillation.outputs import Outputs


class Plan:
    """Which parts count, and how each is computed, by what two models gave for the first batch.

    Attributes
    ----------
    weights : dict[str, float]
        Parts with a weight above 0.
    pairs : list of (int, int)
        Layers of the student and of the teacher.
    projections : torch.nn.ModuleDict
        Linear maps from the student's width to the teacher's, by what they are for.
    """

    def __init__(
        self, objective: Objective, teacher: Outputs, student: Outputs, batch: Batch
    ) -> None:
        self._objective = objective
        self._check_logits(teacher, student)
        self.weights = self._weights(teacher, student, batch)
        self.pairs: list[tuple[int, int]] = []
        if {"hidden", "attention"} & set(self.weights):
            ours, theirs = (
                len(out.hidden) - 1 if out.hidden else len(out.attentions)
                for out in (student, teacher)
            )
            self.pairs = layer_pairs(ours, theirs, objective.layers)
        self.projections = nn.ModuleDict()
        for key, our, their in self._vectors(teacher, student, batch):
            if our.shape[:-1] != their.shape[:-1]:
                raise ValueError(
                    f"{key}: expected one vector of the student for each of the teacher's, got "
                    f"shapes {tuple(their.shape)} and {tuple(our.shape)}"
                )
            if our.shape[-1] != their.shape[-1]:
                self.projections[key] = nn.Linear(our.shape[-1], their.shape[-1], bias=False)
        self._check_attentions(teacher, student)

    @property
    def needs_hidden(self) -> bool:
        """Whether hidden states take part."""
        return bool({"hidden", "embeddings", "cosine", "vectors"} & set(self.weights))

    def _check_logits(self, teacher: Outputs, student: Outputs) -> None:
        if teacher.logits is None or student.logits is None or self._objective.soft == 0:
            return
        if teacher.logits.shape != student.logits.shape:
            raise ValueError(
                f"student: expected {teacher.logits.shape[-1]} classes as the teacher has (logits "
                f"of shape {tuple(teacher.logits.shape)}), got {tuple(student.logits.shape)}"
            )

    def _weights(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, float]:
        """Fill in the defaults, and refuse what was asked for and is not there."""
        wanted = self._objective
        logits = teacher.logits is not None and student.logits is not None
        states = len(teacher.hidden) > 1 and len(student.hidden) > 1
        last = teacher.last is not None and student.last is not None
        there = {
            "soft": (logits, 1.0, "logits of both models"),
            "labels": (
                student.logits is not None and batch.labels is not None,
                0.5,
                "labels in the first batch and logits of the student",
            ),
            "hidden": (states, 1.0, "hidden_states of both models"),
            "embeddings": (states, 0.0, "hidden_states of both models"),
            "attention": (
                bool(teacher.attentions) and bool(student.attentions),
                0.0,
                "attentions of both models",
            ),
            "cosine": (last, 0.0, "hidden states of both models"),
            "vectors": (last, 0.0 if logits else 1.0, "hidden states of both models"),
        }
        weights = {}
        for part, (possible, default, needed) in there.items():
            asked = getattr(wanted, part)
            if asked and not possible:
                raise ValueError(f"{part}: expected {needed}, got none")
            weights[part] = (default if possible else 0.0) if asked is None else float(asked)
        weights = {part: weight for part, weight in weights.items() if weight > 0}
        if not weights:
            raise ValueError(
                "objective: expected a part with a weight above 0 that both models have"
            )
        return weights

    def _check_attentions(self, teacher: Outputs, student: Outputs) -> None:
        for ours, theirs in self.pairs if "attention" in self.weights else ():
            for name, found, index in (("student", student, ours), ("teacher", teacher, theirs)):
                if index >= len(found.attentions):
                    raise ValueError(
                        f"attention: expected maps of layer {index} of the {name}, got "
                        f"{len(found.attentions)} maps"
                    )
            our, their = student.attentions[ours], teacher.attentions[theirs]
            if our.shape[1] != their.shape[1]:
                raise ValueError(
                    f"attention: expected the teacher's {their.shape[1]} heads in the student, got "
                    f"{our.shape[1]}; leave the attention out, or give the student as many"
                )

    def _vectors(
        self, teacher: Outputs, student: Outputs, batch: Batch
    ) -> list[tuple[str, Tensor, Tensor]]:
        """List what is compared as vectors: (name, the student's, the teacher's)."""
        found: list[tuple[str, Any, Any]] = []
        if "hidden" in self.weights:
            found += [
                (f"hidden_{ours}_{theirs}", student.hidden[ours + 1], teacher.hidden[theirs + 1])
                for ours, theirs in self.pairs
            ]
        if "embeddings" in self.weights:
            found.append(("embeddings", student.hidden[0], teacher.hidden[0]))
        if "cosine" in self.weights:
            found.append(("cosine", student.last, teacher.last))
        if "vectors" in self.weights:
            found.append(("vectors", self._pooled(student, batch), self._pooled(teacher, batch)))
        return found

    def _pooled(self, outputs: Outputs, batch: Batch) -> Tensor:
        if self._objective.pooling == "pooler":
            if outputs.pooled is None:
                raise ValueError("pooling: expected a pooler_output of both models, got none")
            return outputs.pooled
        assert outputs.last is not None
        mask = batch.mask
        device = outputs.last.device
        return losses.pool(
            outputs.last, None if mask is None else mask.to(device), self._objective.pooling
        )

    def parts(self, teacher: Outputs, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the parts of the loss for a batch, without their weights."""
        device = next(t for _, t in student.named()).device
        mask = None if batch.mask is None else batch.mask.to(device)
        found: dict[str, list[Tensor]] = {}
        if "soft" in self.weights and student.logits is not None:
            per_token = mask if student.logits.ndim == 3 else None
            soft = losses.soft_target_loss(
                student.logits, teacher.logits, self._objective.temperature, per_token
            )
            found["soft"] = [soft]
        if "labels" in self.weights and batch.labels is not None:
            found["labels"] = [losses.label_loss(student.logits, batch.labels.to(device))]
        for key, our, their in self._vectors(teacher, student, batch):
            if key in self.projections:
                our = self.projections[key](our)
            part = key.partition("_")[0]
            counted = mask if our.ndim == 3 else None
            compare = losses.cosine_loss if part in ("cosine", "vectors") else losses.hidden_loss
            found.setdefault(part, []).append(compare(our, their, counted))
        for ours, theirs in self.pairs if "attention" in self.weights else ():
            found.setdefault("attention", []).append(
                losses.attention_loss(
                    student.attentions[ours],
                    teacher.attentions[theirs],
                    mask,
                    scores=self._objective.attention_scores,
                )
            )
        return {part: torch.stack(values).mean() for part, values in found.items()}

    def total(self, parts: dict[str, Tensor]) -> Tensor:
        """Add up the parts with their weights."""
        if not parts:
            raise ValueError("data: expected labels in every batch, as nothing else is learned")
        return torch.stack([self.weights[part] * value for part, value in parts.items()]).sum()
