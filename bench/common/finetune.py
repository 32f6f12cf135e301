# SPDX-License-Identifier: Apache-2.0
"""A float32 encoder with a classification head, fine-tuned on labelled sentences: the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from octavo.data.tokenizer import tokenize

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BATCH = 32


def batches(
    folder: Path, sentences: list[str], labels: Any, order: Any, positions: int = 128
) -> Iterator[dict[str, Any]]:
    """Yield tokenized batches as transformers takes them, in the given order of sentences."""
    import torch

    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        ids, mask = tokenize(folder, [sentences[i] for i in chosen], positions)
        yield {
            "input_ids": torch.from_numpy(ids.astype(np.int64)),
            "attention_mask": torch.from_numpy(mask.astype(np.int64)),
            "labels": torch.from_numpy(np.asarray(labels)[chosen]),
        }


def finetune(
    model_folder: Path,
    sentences: list[str],
    labels: Any,
    folder: Path,
    *,
    epochs: int = 3,
    rate: float = 5e-5,
    seed: int = 0,
) -> None:
    """Fine-tune all weights and a new head, and save the model with its tokenizer to `folder`.

    Sentences of like length share a batch; the batches come in a seeded random order, the learning
    rate rises over the first tenth and then falls to zero.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    model = AutoModelForSequenceClassification.from_pretrained(model_folder, num_labels=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    steps = epochs * -(-len(sentences) // BATCH)

    def factor(step: int) -> float:
        return min((step + 1) / (0.1 * steps), (steps - step) / (0.9 * steps))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    model.train()
    for _ in range(epochs):
        for batch in batches(model_folder, sentences, labels, batch_order(sentences, random)):
            optimizer.zero_grad()
            model(**batch).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    model.eval().save_pretrained(folder)
    AutoTokenizer.from_pretrained(model_folder).save_pretrained(folder)


def batch_order(sentences: list[str], random: np.random.Generator) -> Any:
    """Return a random order in which neighbours within a batch are of like length."""
    shuffled = random.permutation(len(sentences))
    pool = 32 * BATCH
    parts = []
    for start in range(0, len(shuffled), pool):
        part = sorted(shuffled[start : start + pool], key=lambda index: len(sentences[index]))
        parts += [part[i : i + BATCH] for i in range(0, len(part), BATCH)]
    whole = [part for part in parts if len(part) == BATCH]
    rest = [part for part in parts if len(part) < BATCH]
    random.shuffle(whole)
    return np.concatenate([*whole, *rest])
