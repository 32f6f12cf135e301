# SPDX-License-Identifier: Apache-2.0
"""What may stand behind an encoder: a classifier of sequences or tokens, one that answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from octavo import nn
from octavo._types import Float32, Mask
from octavo.lora.adapted import Adapted
from octavo.models.build import LayerSource
from octavo.models.config import HEADS, OUTPUT_OF_TASK, SEQUENCE, EncoderConfig


def first_token(hidden: Float32) -> Float32:
    """Return the state of each row's first token, (batch, hidden_size)."""
    return np.ascontiguousarray(hidden[:, 0])


class TwoLayers(nn.Module):
    """A sequence classifier of two layers, as RoBERTa has it, where BERT has a pooler and one."""

    def __init__(self, name: str, config: EncoderConfig, source: LayerSource, act: str) -> None:
        size = config.hidden_size
        self.dense = source.linear(f"{name}.dense", size, size, act)
        self.out_proj = source.linear(f"{name}.out_proj", config.labels, size)

    def __call__(self, states: Float32) -> Float32:
        """Compute the logits of first states."""
        return self.out_proj(self.dense(states))


class Headed(Adapted):
    """An encoder that may have a head, its own or an adapter's; see `Encoder`."""

    architecture = ""
    head_prefixes = HEADS
    output_of_task = OUTPUT_OF_TASK
    head_activation = ""
    """Between the layers of a sequence classifier that has two."""

    def __init__(self, config: EncoderConfig) -> None:
        self.config = config
        self.classifier: nn.Module | None = None
        self.qa_outputs: nn.Module | None = None

    @property
    def task(self) -> str:
        """What the head is for, as `EncoderConfig.task` has it: the model's, or an adapter's."""
        outputs = self.output_of_task
        found = [task for task, name in outputs.items() if vars(self)[name] is not None]
        adapter = self.adapters.get(self.active_adapter or "")
        named = self.config.task or (adapter.task if adapter is not None else "")
        return named if named in found else next(iter(found), "")

    def require_head(self, task: str = "") -> None:
        """Raise unless the model has a head, one for `task`."""
        if not self.task:
            wanted = "a sequence classifier" if task else f"one of {', '.join(OUTPUT_OF_TASK)}"
            raise ValueError(
                f"model: expected {wanted}, got a {self.architecture} without a head for it"
            )
        if task and self.task != task:
            raise ValueError(
                f"model: expected a head for {task}, got a {self.architecture} with one for "
                f"{self.task}: see logits"
            )

    def logits_of(self, hidden: Float32, mask: npt.ArrayLike | None) -> Float32:
        """Compute what the head gives of last hidden states, (batch, tokens, hidden_size)."""
        if hidden.size == 0:
            rows = hidden.shape[: 1 if self.task == SEQUENCE else 2]
            return np.zeros((*rows, self.config.labels), np.float32)
        output: Any = vars(self)[self.output_of_task[self.task]]
        kept = None if mask is None else np.asarray(mask, bool)
        return output(self.read_by_head(hidden, kept))

    def read_by_head(self, hidden: Float32, mask: Mask | None) -> Float32:  # noqa: ARG002
        """Compute what the layer that gives the logits reads."""
        return self.pooled(hidden) if self.task == SEQUENCE else hidden

    def pooled(self, hidden: Float32) -> Float32:
        """Compute what a sequence classifier reads, (batch, hidden_size), from hidden states."""
        raise NotImplementedError

    def _add_head(self, source: LayerSource) -> None:
        """Take the head that the config names, if it names one."""
        config = self.config
        if config.task == SEQUENCE and self.head_activation:
            self.classifier = TwoLayers("classifier", config, source, self.head_activation)
        elif config.task:
            name = self.output_of_task[config.task]
            setattr(self, name, source.linear(name, config.labels, config.hidden_size))
