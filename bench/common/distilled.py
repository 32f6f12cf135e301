# SPDX-License-Identifier: Apache-2.0
"""A student of three of its teacher's layers, trained from the teacher's outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from octavo.data.tokenizer import tokenize

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

LAYERS = (0, 2, 5)
OBJECTIVE: dict[str, Any] = {"soft": 1.0, "hidden": 1.0, "temperature": 2.0}
TRAINING: dict[str, Any] = {"epochs": 2, "learning_rate": 1e-4, "batch_size": 32}


def distilled_student(
    teacher_folder: Path,
    train: list[str],
    out_folder: Path,
    seed: int = 0,
    *,
    labels: Sequence[int] | None = None,
    layers: Sequence[int] = LAYERS,
    quantize: bool = False,
    say: Callable[[str, float], None] | None = None,
    **training: Any,
) -> Path:
    """Distil the classifier in `teacher_folder` on the sentences of `train` into `out_folder`.

    Without `labels` the student learns from the teacher alone. Embeddings stay the teacher's. Where
    an earlier call was interrupted, this one goes on; `training` changes fields of `TRAINING`.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    import octavo.torch

    teacher = AutoModelForSequenceClassification.from_pretrained(teacher_folder)
    student: Any = octavo.torch.student_of(teacher, list(layers))
    student.base_model.embeddings.requires_grad_(False)

    def tokenizer(sentences: list[str]) -> dict[str, Any]:
        ids, mask = tokenize(teacher_folder, sentences, 128)
        return {"input_ids": ids, "attention_mask": mask}

    data: list[Any] = train if labels is None else list(zip(train, map(int, labels), strict=True))
    out_folder.mkdir(parents=True, exist_ok=True)
    checkpoint = out_folder / "distillation.pt"
    octavo.torch.distill(
        teacher,
        student,
        data,
        objective=OBJECTIVE,
        training={**TRAINING, **training},
        tokenizer=tokenizer,
        quantize=quantize,
        checkpoint=checkpoint,
        seed=seed,
        on_progress=say,
    )
    student.save_pretrained(out_folder)
    AutoTokenizer.from_pretrained(teacher_folder).save_pretrained(out_folder)
    checkpoint.unlink()
    return out_folder
