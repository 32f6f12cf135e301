# SPDX-License-Identifier: Apache-2.0
"""The training loop: steps, evaluations, checkpoints."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import nn

from octavo.torch._capture import evaluating
from octavo.torch.distillation import state
from octavo.torch.distillation._random import Generators
from octavo.torch.distillation.batches import Batch, Batches
from octavo.torch.distillation.interrupt import Interruptions
from octavo.torch.distillation.outputs import Reader, culprit
from octavo.torch.distillation.plan import Plan
from octavo.torch.distillation.result import Distilled, Progress, Settings
from octavo.torch.distillation.training import optimizer_of


class Trainer:
    """One run of a number of steps."""

    def __init__(
        self, teacher: Reader, student: Reader, batches: Batches, settings: Settings, total: int
    ) -> None:
        self.teacher, self.student = teacher, student
        self._batches, self._settings, self._total = batches, settings, total
        self._training = settings.training
        self._generators = Generators(batches.generators())
        self._progress = Progress()
        self._plan: Plan | None = None
        self._projections: Any = nn.ModuleDict()
        self._best: dict[str, Any] | None = None
        self._kept: dict[str, Any] | None = None
        self._kept_random: dict[str, Any] | None = None

    def run(self) -> Distilled:
        """Train to the end, or go on to the end from a checkpoint."""
        settings = self._settings
        if settings.checkpoint is not None:
            self._kept = state.read(settings.checkpoint, settings.run, settings.student_before)
        if self._kept is not None:
            self._progress = Progress(**self._kept["progress"])
            self._best = self._kept["best"]
            self._kept_random = self._kept["random"]
            self.student.model.load_state_dict(self._kept["student"])
        attention = settings.objective.attention > 0
        with ExitStack() as stack:
            stack.enter_context(self._generators)
            stack.enter_context(evaluating(self.teacher.model))
            stack.callback(self.student.model.eval)
            for reader in (self.teacher, self.student):
                stack.enter_context(reader.giving_attentions(attention))
            if self._progress.done:
                self._restore_projections()
            else:
                interruptions = Interruptions(settings.checkpoint is not None)
                self._loop(stack.enter_context(interruptions))
                self._finish()
        return self._result()

    def _loop(self, interruptions: Interruptions) -> None:
        at = self._progress
        while not self._over():
            for raw in self._raw_batches():
                batch = self._batches.read(raw, at.position)
                for reader in (self.teacher, self.student):
                    reader.check(batch, f"data: batch {at.position}")
                if self._plan is None:
                    self._prepare(batch)
                self._learn(batch)
                at.position += 1
                self._after_step(interruptions)
                if self._over():
                    return
            if at.position == 0:
                if self._batches.once and at.step:
                    return
                raise ValueError("data: expected at least one batch, got none")
            if self._settings.metric is not None and self._training.evaluate_every is None:
                self._evaluate()
            at.epoch, at.position = at.epoch + 1, 0

    def _over(self) -> bool:
        return self._progress.step >= self._total or self._progress.stopped_early

    def _raw_batches(self) -> Iterator[Any]:
        """Yield the batches of the epoch that are left."""
        at = self._progress
        # Each epoch's order follows from its number alone, so that it can be gone through again.
        self._generators.seed(self._settings.seed, at.epoch)
        raw = self._batches.epoch(self._settings.seed, at.epoch)
        for _ in range(at.position):
            next(raw, None)
        if self._kept_random is not None:
            self._generators.restore(self._kept_random)
            self._kept_random = None
        yield from raw

    def _prepare(self, batch: Batch) -> None:
        """Make what depends on shapes: the plan, projections, the optimizer."""
        before = self._generators.state()
        self._generators.seed(self._settings.seed)
        objective = self._settings.objective
        attention = objective.attention > 0
        self.student.model.eval()
        with torch.no_grad():
            teacher = self.teacher(batch, attentions=attention).to(self.student.device)
            student = self.student(batch, attentions=attention)
        self._plan = Plan(objective, teacher, student, batch)
        self._projections = self._plan.projections.to(self.student.device)
        self._optimizer = optimizer_of(self.student.model, self._projections, self._training)
        if self._kept is not None:
            self._projections.load_state_dict(self._kept["projections"])
            self._optimizer.load_state_dict(self._kept["optimizer"])
            self._kept = None
        self._generators.restore(before)

    def _learn(self, batch: Batch) -> None:
        assert self._plan is not None
        at, training = self._progress, self._training
        attention = "attention" in self._plan.weights
        hidden = self._plan.needs_hidden
        self.student.model.train()
        with torch.no_grad():
            teacher = self.teacher(batch, hidden=hidden, attentions=attention)
            teacher = teacher.to(self.student.device)
        student = self.student(batch, hidden=hidden, attentions=attention)
        parts = self._plan.parts(teacher, student, batch)
        loss = self._plan.total(parts)
        values = {part: value.item() for part, value in parts.items()}
        if not math.isfinite(loss.item()):
            raise FloatingPointError(
                f"step {at.step + 1}: the loss is {loss.item()} "
                f"({culprit(teacher, student)}; parts: {values})"
            )
        share = training.rate(at.step, self._total)
        for group in self._optimizer.param_groups:
            group["lr"] = group["highest"] * share
        self._optimizer.zero_grad()
        loss.backward()
        learning = [p for group in self._optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(learning, training.gradient_norm)
        if not math.isfinite(float(norm)):
            raise FloatingPointError(f"step {at.step + 1}: the gradient's norm is {float(norm)}")
        self._optimizer.step()
        at.step += 1
        rate = training.learning_rate * share
        entry = {"step": at.step, "epoch": at.epoch + 1, "learning_rate": rate}
        at.history.append({**entry, "loss": loss.item(), **values})

    def _after_step(self, interruptions: Interruptions) -> None:
        at, settings = self._progress, self._settings
        every = self._training.evaluate_every
        if settings.metric is not None and every is not None and at.step % every == 0:
            self._evaluate()
        if settings.on_progress is not None:
            loss = at.history[-1]["loss"]
            text = f"step {at.step} of {self._total}, loss {loss:.4f}"
            settings.on_progress(text, at.step / self._total)
        due = at.step % self._training.checkpoint_every == 0
        if settings.checkpoint is not None and (due or interruptions.came):
            self._save(settings.checkpoint)
        if interruptions.came:
            raise KeyboardInterrupt

    def _evaluate(self) -> None:
        at, metric = self._progress, self._settings.metric
        assert metric is not None
        before = self._generators.state()
        model = self.student.model.eval()
        with torch.no_grad():
            value = float(metric(model))
        self._generators.restore(before)
        if not math.isfinite(value):
            raise ValueError(f"metric: expected a finite number, got {value} at step {at.step}")
        at.evaluations.append((at.step, value))
        sign = 1 if self._training.maximize else -1
        if at.best_metric is None or sign * value > sign * at.best_metric:
            at.best_step, at.best_metric, at.without_better = at.step, value, 0
            self._best = copy.deepcopy(model.state_dict())
        else:
            at.without_better += 1
            patience = self._training.patience
            at.stopped_early = patience is not None and at.without_better >= patience

    def _finish(self) -> None:
        at, settings = self._progress, self._settings
        last = at.evaluations[-1][0] if at.evaluations else 0
        if settings.metric is not None and last != at.step:
            self._evaluate()
        if self._best is not None:
            self.student.model.load_state_dict(self._best)
        else:
            at.best_step = at.step
        at.done = True
        if settings.checkpoint is not None:
            self._save(settings.checkpoint)

    def _save(self, path: Path) -> None:
        """Write a checkpoint; the best weights of a finished run are the student's."""
        at = self._progress
        content = {
            "run": self._settings.run,
            "student_before": self._settings.student_before,
            "student_now": state.digest(self.student.model),
            "student": self.student.model.state_dict(),
            "projections": self._projections.state_dict(),
            "optimizer": None if at.done else self._optimizer.state_dict(),
            "random": self._generators.state(),
            "progress": vars(at),
            "best": None if at.done else self._best,
        }
        state.write(path, content)

    def _restore_projections(self) -> None:
        assert self._kept is not None
        for name, weight in self._kept["projections"].items():
            outputs, inputs = weight.shape
            self._projections[name.removesuffix(".weight")] = nn.Linear(inputs, outputs, bias=False)
        self._projections.load_state_dict(self._kept["projections"])

    def _result(self) -> Distilled:
        at = self._progress
        return Distilled(
            student=self.student.model,
            history=at.history,
            evaluations=at.evaluations,
            best_step=at.best_step,
            best_metric=at.best_metric,
            steps=at.step,
            stopped_early=at.stopped_early,
            projections=self._projections,
        )
