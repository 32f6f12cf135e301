# SPDX-License-Identifier: Apache-2.0
"""`distill`: the arguments checked, the run put together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from octavo import _checks
from octavo.torch.distillation import state
from octavo.torch.distillation.batches import Batches, batches_of
from octavo.torch.distillation.objective import Objective
from octavo.torch.distillation.outputs import Reader
from octavo.torch.distillation.result import Distilled, Settings
from octavo.torch.distillation.trainer import Trainer
from octavo.torch.distillation.training import Training, configured
from octavo.torch.prepare import prepare_qat_
from octavo.torch.tensors import require_module

if TYPE_CHECKING:
    from torch import nn


def distill(
    teacher: nn.Module,
    student: nn.Module,
    data: Iterable[Any],
    *,
    objective: Objective | dict[str, Any] | None = None,
    training: Training | dict[str, Any] | None = None,
    tokenizer: Callable[..., Any] | None = None,
    metric: Callable[[nn.Module], float] | None = None,
    quantize: bool | Callable[[nn.Module], Any] = False,
    checkpoint: str | os.PathLike[str] | None = None,
    seed: int = 0,
    on_progress: Callable[[str, float], None] | None = None,
) -> Distilled:
    """Train a student, in place, to give what a teacher gives.

    Parameters
    ----------
    teacher, student : torch.nn.Module
        Models of transformers, or any whose output has ``logits``, ``hidden_states``,
        ``attentions`` or ``last_hidden_state``; both get the same inputs. The teacher is not
        changed. `student_of` makes a student of a teacher.
    data : iterable
        Batches: dicts (``labels`` in them or not), tuples of tensors, or ``(inputs, labels)``; a
        `torch.utils.data.DataLoader`; or a list of sentences or of ``(sentence, label)``. What can
        be gone through only once needs `Training.steps`.
    objective : Objective or dict, optional
        What the student is to match. By default soft targets, labels where there are, and hidden
        states; sentence vectors instead of the first two for models without logits.
    training : Training or dict, optional
        Epochs, learning rate, early stop and the like.
    tokenizer : callable, optional
        For sentences: a tokenizer of transformers, or a function from a list of sentences to a
        dict of arrays.
    metric : callable, optional
        ``metric(student)``, called in evaluation mode and without gradients; the student ends with
        the weights for which it was best.
    quantize : bool or callable
        Train for int8: `octavo.torch.prepare_qat_` makes the student's layers compute as int8
        ones would, while their float weights learn; `convert_qat_` or `to_encoder` finish it. A
        callable does the preparation in another way, in place.
    checkpoint : path, optional
        A file that is written now and then, and at Ctrl-C. Where it exists, the run goes on from
        it: on the CPU, with as many threads, the result has the bits of an uninterrupted run.
    seed : int
        Of data order and dropout. The generators of the process are left as they were.
    on_progress : callable, optional
        ``on_progress(text, share)`` after every step.

    Returns
    -------
    Distilled

    Raises
    ------
    TypeError, ValueError
        For arguments, data and checkpoints that do not fit.
    FloatingPointError
        If the loss or the gradient is not finite; names the step.
    KeyboardInterrupt
        At Ctrl-C, after the step that runs and a checkpoint.

    Notes
    -----
    Hinton et al., arXiv 1503.02531; Sanh et al., arXiv 1910.01108; Jiao et al., arXiv 1909.10351.

    Examples
    --------
    >>> import torch
    >>> import octavo.torch
    >>> _ = torch.manual_seed(0)
    >>> teacher, student = torch.nn.Linear(8, 3), torch.nn.Linear(8, 3)
    >>> batches = list(torch.randn(20, 32, 8))
    >>> result = octavo.torch.distill(
    ...     teacher, student, batches, training={"epochs": 5, "learning_rate": 0.03}
    ... )
    >>> result.steps, result.history[-1]["soft"] < 0.05 * result.history[0]["soft"]
    (100, True)
    """
    _check_models(teacher, student)
    aims = configured(Objective, objective, "objective")
    schedule = configured(Training, training, "training")
    _checks.function(metric, "metric")
    _checks.function(on_progress, "on_progress")
    if schedule.patience is not None and metric is None:
        raise ValueError("patience: expected a metric to be patient with, got none")
    seed = _checks.integer(seed, "seed", 0)
    batches = batches_of(data, tokenizer, schedule.batch_size)
    total = _total_steps(batches, schedule)
    path = None if checkpoint is None else _checkpoint_path(checkpoint)
    readers = Reader(teacher, "teacher"), Reader(student, "student")
    run = {
        "objective": {**asdict(aims), "layers": _plain(aims.layers)},
        "training": {**asdict(schedule), "checkpoint_every": None},
        "seed": seed,
        "steps": total,
        "quantize": quantize if isinstance(quantize, bool) else _name(quantize),
        "metric": metric is not None,
        "data": batches.describe(),
        "teacher": "" if path is None else _described(teacher),
        "student": _shape(student),
    }
    before = "" if path is None else state.digest(student)
    _prepare(student, quantize)
    settings = Settings(aims, schedule, seed, metric, path, on_progress, run, before)
    return Trainer(*readers, batches, settings, total).run()


def _check_models(teacher: Any, student: Any) -> None:
    require_module(teacher, "teacher")
    require_module(student, "student")
    frozen = {id(tensor): name for name, tensor in teacher.named_parameters()}
    for name, tensor in student.named_parameters():
        if id(tensor) in frozen:
            raise ValueError(
                f"student: expected weights of its own, got {name!r}, which is the teacher's "
                f"{frozen[id(tensor)]!r}; copy it, or use student_of"
            )
    sizes = [Reader(model, "").vocabulary for model in (teacher, student)]
    if None not in sizes and sizes[0] != sizes[1]:
        raise ValueError(
            f"student: expected the teacher's vocabulary of {sizes[0]} tokens, as both read the "
            f"same ids, got {sizes[1]}"
        )


def _total_steps(batches: Batches, training: Training) -> int:
    if training.steps is not None:
        return training.steps
    if batches.length is None:
        raise ValueError("steps: expected a number of steps, as the data has no length, got None")
    return batches.length * training.epochs


def _checkpoint_path(checkpoint: Any) -> Path:
    if not isinstance(checkpoint, (str, Path)) and not hasattr(checkpoint, "__fspath__"):
        raise TypeError(f"checkpoint: expected a path, got {type(checkpoint).__name__}")
    path = Path(checkpoint)
    if path.is_dir():
        raise ValueError(f"checkpoint: expected a file, got the folder {path}")
    if not path.parent.is_dir():
        raise ValueError(f"checkpoint: expected a file in a folder that exists, got {path}")
    return path


def _prepare(student: nn.Module, quantize: Any) -> None:
    if callable(quantize):
        quantize(student)
        return
    # A student whose run was interrupted in this process is prepared already.
    prepared = any(getattr(part, "is_prepared", False) for part in student.modules())
    if _checks.boolean(quantize, "quantize") and not prepared:
        prepare_qat_(student)


def _plain(layers: Any) -> Any:
    """Return a layer mapping in types that compare the same after a checkpoint."""
    if isinstance(layers, Mapping):
        return {int(ours): int(theirs) for ours, theirs in layers.items()}
    return list(layers) if isinstance(layers, tuple) else layers


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__))


def _described(model: nn.Module) -> str:
    return f"{type(model).__name__} {state.digest(model)[:16]}"


def _shape(model: nn.Module) -> str:
    sizes = [tensor.numel() for tensor in model.parameters()]
    return f"{type(model).__name__} of {sum(sizes)} weights in {len(sizes)} tensors"
