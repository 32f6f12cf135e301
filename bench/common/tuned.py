# SPDX-License-Identifier: Apache-2.0
"""Int8 models tuned with PyTorch: rounding learned from sentences, training with labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from octavo.data.tokenizer import tokenize

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

BATCH = 32


def rounded_int8(
    model_folder: Path,
    sentences: Sequence[str],
    folder: Path,
    say: Callable[[str, float], None] | None = None,
    **config: Any,
) -> None:
    """Write the int8 form of a model whose rounding was learned from `sentences` (AdaRound).

    `config` changes fields of `octavo.torch.AdaRound`.
    """
    import torch

    import octavo.torch

    model = _float_model(model_folder)
    ordered = sorted(sentences, key=len)
    data = []
    for start in range(0, len(ordered), BATCH):
        ids, mask = tokenize(model_folder, ordered[start : start + BATCH], 128)
        data.append({"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)})
    settings = octavo.torch.AdaRound(if_slower="quantize", **config)
    octavo.torch.adaround_(model, data, settings, on_progress=say)
    octavo.torch.to_encoder(model, model_folder).save(folder)


def trained_int8(
    teacher_folder: Path,
    sentences: list[str],
    labels: Any,
    folder: Path,
    *,
    steps: int = 100,
    rate: float = 1e-5,
    seed: int = 0,
    **config: Any,
) -> None:
    """Write the int8 form of a fine-tuned classifier after `steps` batches of training for int8.

    The learning rate falls to zero; `config` changes fields of `octavo.torch.Int8Training`.
    """
    import torch

    import octavo.torch
    from common.finetune import batches

    torch.manual_seed(seed)
    model = _float_model(teacher_folder)
    settings = octavo.torch.Int8Training(embeddings=True, if_slower="quantize", **config)
    octavo.torch.prepare_qat_(model, settings)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    order = np.random.default_rng(seed).permutation(len(sentences))
    order = np.resize(order, steps * BATCH)
    model.train()
    for batch in batches(teacher_folder, sentences, labels, order):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    octavo.torch.to_encoder(model.eval(), teacher_folder).save(folder)


def _float_model(folder: Path) -> Any:
    """Load a model as the class that its config names."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder)
    name = (config.architectures or ["AutoModel"])[0]
    return getattr(transformers, name).from_pretrained(folder).eval()
