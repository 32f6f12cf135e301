# SPDX-License-Identifier: Apache-2.0
"""A low-rank adapter and a classification head, trained on a frozen int8 base."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from common.finetune import BATCH, batch_order, batches
from octavo.data.tokenizer import tokenize

if TYPE_CHECKING:
    from pathlib import Path

    from octavo.models import Encoder

RANK = 8
TARGETS = ["query", "key", "value", "attention.output.dense", "pooler.dense"]


def lora_on_int8(
    base_folder: Path,
    train: list[str],
    labels: Any,
    out_folder: Path,
    seed: int = 0,
    *,
    epochs: int = 3,
    rate: float = 2e-3,
) -> Path:
    """Train an adapter of rank 8 and a head, and save them as peft does; return `out_folder`.

    The base is an int8 folder that octavo wrote. Batches and schedule are those of `finetune`.
    """
    import peft
    import torch
    from transformers import AutoModelForSequenceClassification

    import octavo.peft  # noqa: F401  (lets peft adapt int8 layers)
    from octavo.transformers import OctavoConfig

    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    base = AutoModelForSequenceClassification.from_pretrained(
        base_folder, num_labels=2, quantization_config=OctavoConfig()
    )
    config = peft.LoraConfig(
        r=RANK,
        lora_alpha=2 * RANK,
        lora_dropout=0.05,
        target_modules=TARGETS,
        modules_to_save=["classifier"],
        task_type="SEQ_CLS",
    )
    model = peft.get_peft_model(base, config)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.01)
    steps = epochs * -(-len(train) // BATCH)

    def factor(step: int) -> float:
        return min((step + 1) / (0.1 * steps), (steps - step) / (0.9 * steps))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    model.train()
    for _ in range(epochs):
        for batch in batches(base_folder, train, labels, batch_order(train, random)):
            optimizer.zero_grad()
            model(**batch).loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
    model.eval().save_pretrained(out_folder)
    return out_folder


def logits(model: Encoder, folder: Path, sentences: list[str]) -> Any:
    """Return what the head says, (sentences, classes), by octavo's own engine.

    The model has an adapter in use or in its weights, and with it the head.
    """
    order = sorted(range(len(sentences)), key=lambda index: len(sentences[index]))
    parts = []
    for start in range(0, len(order), BATCH):
        ids, mask = tokenize(folder, [sentences[i] for i in order[start : start + BATCH]], 128)
        parts.append(model.logits(ids, mask))
    scores = np.concatenate(parts)
    return scores[np.argsort(order)]


def accuracy(scores: Any, labels: Any) -> float:
    """Return the share of rows whose largest score is the label's."""
    return float((scores.argmax(axis=1) == np.asarray(labels)).mean())
