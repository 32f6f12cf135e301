# SPDX-License-Identifier: Apache-2.0
"""Small models and batches for the tests of distillation; also a program that trains, to be killed.

python tests/support/distill_models.py CHECKPOINT SECONDS_PER_STEP
"""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from torch import nn

import octavo.torch

VOCABULARY, CLASSES = 50, 3
TRAINING = {"epochs": 3, "learning_rate": 3e-3, "checkpoint_every": 2}


class Tiny(nn.Module):
    """Embeddings, mixing layers with dropout, and a head; outputs named as in transformers."""

    def __init__(self, layers: int = 4, width: int = 16, head: bool = True) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(width, CLASSES) if head else None

    def forward(self, input_ids: Any, attention_mask: Any = None) -> dict[str, Any]:
        states = [self.embed(input_ids)]
        for layer in self.layers:
            mixed = states[-1] + states[-1].mean(dim=1, keepdim=True)
            states.append(torch.tanh(layer(self.dropout(mixed))))
        output: dict[str, Any] = {"hidden_states": tuple(states)}
        if self.head is not None:
            output["logits"] = self.head(states[-1][:, 0])
        return output


def models(**student: Any) -> tuple[Tiny, nn.Module]:
    """A teacher and a student of two of its layers; the same ones in every process."""
    state = torch.get_rng_state()
    torch.manual_seed(5)
    teacher = Tiny()
    made = Tiny(**student) if student else octavo.torch.student_of(teacher, [1, 3])
    torch.set_rng_state(state)
    return teacher, made


def batches(count: int = 8, labels: bool = True) -> list[dict[str, Any]]:
    """Padded batches of several lengths."""
    generator = torch.Generator().manual_seed(9)
    made = []
    for index in range(count):
        tokens = 4 + index % 3
        lengths = torch.randint(1, tokens + 1, (6, 1), generator=generator)
        batch = {
            "input_ids": torch.randint(0, VOCABULARY, (6, tokens), generator=generator),
            "attention_mask": (torch.arange(tokens) < lengths).long(),
        }
        if labels:
            batch["labels"] = torch.randint(0, CLASSES, (6,), generator=generator)
        made.append(batch)
    return made


def main(checkpoint: str, seconds: float) -> None:
    """Train slowly, and say so after every step."""
    torch.set_num_threads(1)

    def say(text: str, share: float) -> None:
        print(text, share, flush=True)
        time.sleep(seconds)

    teacher, student = models()
    octavo.torch.distill(
        teacher, student, batches(), training=TRAINING, checkpoint=checkpoint, on_progress=say
    )


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
