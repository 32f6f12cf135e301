# SPDX-License-Identifier: Apache-2.0
"""Calling a teacher or a student, and finding logits, hidden states and attention maps."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from octavo.torch.distillation.batches import Batch


@dataclass(frozen=True)
class Outputs:
    """What a model gave; `hidden` begins with the embeddings' output, as in transformers."""

    logits: Tensor | None
    hidden: tuple[Tensor, ...]
    attentions: tuple[Tensor, ...]
    last: Tensor | None
    pooled: Tensor | None

    def to(self, device: torch.device) -> Outputs:
        """Return the same on a device."""
        logits, last, pooled = (
            None if part is None else part.to(device)
            for part in (self.logits, self.last, self.pooled)
        )
        hidden = tuple(part.to(device) for part in self.hidden)
        return Outputs(
            logits, hidden, tuple(part.to(device) for part in self.attentions), last, pooled
        )

    def named(self) -> Iterator[tuple[str, Tensor]]:
        """List the tensors with what to call them in a message."""
        if self.logits is not None:
            yield "logits", self.logits
        yield from ((f"hidden_states[{i}]", part) for i, part in enumerate(self.hidden))
        yield from ((f"attentions[{i}]", part) for i, part in enumerate(self.attentions))
        if self.last is not None:
            yield "last_hidden_state", self.last


class Reader:
    """Calls one model, which messages call "teacher" or "student"."""

    def __init__(self, model: nn.Module, name: str) -> None:
        self.model, self.name = model, name
        parameters = inspect.signature(model.forward).parameters.values()
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        self._names = {p.name for p in parameters if p.kind in kinds}
        self.config = getattr(model, "config", None)
        self._transformers = hasattr(self.config, "to_dict")
        first = next(iter(model.parameters()), None)
        self.device = torch.device("cpu") if first is None else first.device

    @property
    def vocabulary(self) -> int | None:
        """Number of token ids, where the config says so."""
        size = getattr(self.config, "vocab_size", None)
        return size if isinstance(size, int) else None

    def __call__(self, batch: Batch, *, hidden: bool = True, attentions: bool = False) -> Outputs:
        """Run the model; ValueError if its output holds nothing to learn from."""
        wanted = {"output_hidden_states": hidden, "output_attentions": attentions}
        options: dict[str, Any] = {
            key: True for key, on in wanted.items() if on and self._takes(key)
        }
        if self._transformers:
            options["return_dict"] = True
        inputs = batch.to(self.device)
        if isinstance(inputs, dict):
            if self._names and "token_type_ids" not in self._names:
                inputs = {key: value for key, value in inputs.items() if key != "token_type_ids"}
            return self._read(self.model(**inputs, **options))
        if self._transformers:
            names = [name for name in _POSITIONS if name in self._names]
            named = dict(zip(names, inputs, strict=False))
            return self._read(self.model(**named, **options))
        return self._read(self.model(*inputs, **options))

    def check(self, batch: Batch, where: str) -> None:
        """Refuse token ids that the model has no vectors for, and more tokens than it takes."""
        ids, size = batch.ids, self.vocabulary
        if ids is None or ids.is_floating_point() or ids.numel() == 0:
            return
        low, high = int(ids.min()), int(ids.max())
        if size is not None and not 0 <= low <= high < size:
            wrong = low if low < 0 else high
            raise ValueError(f"{where}: expected token ids in [0, {size - 1}], got {wrong}")
        most = getattr(self.config, "max_position_embeddings", None)
        if isinstance(most, int) and ids.ndim == 2 and ids.shape[1] > most:
            raise ValueError(
                f"{where}: expected at most {most} tokens, the {self.name}'s limit, got "
                f"{ids.shape[1]}"
            )

    def _takes(self, option: str) -> bool:
        return self._transformers or option in self._names

    def _read(self, output: Any) -> Outputs:
        if isinstance(output, torch.Tensor):
            output = {"logits" if output.ndim == 2 else "last_hidden_state": output}
        logits, hidden, attentions, last, pooled = (
            _get(output, key)
            for key in (
                "logits",
                "hidden_states",
                "attentions",
                "last_hidden_state",
                "pooler_output",
            )
        )
        hidden = tuple(hidden or ())
        if last is None and hidden:
            last = hidden[-1]
        if logits is None and last is None:
            raise ValueError(
                f"{self.name}: expected an output with logits, hidden_states or "
                f"last_hidden_state, got {type(output).__name__}"
            )
        attentions = tuple(part for part in attentions or () if part is not None)
        return Outputs(logits, hidden, attentions, last, pooled)

    @contextmanager
    def giving_attentions(self, needed: bool) -> Iterator[None]:
        """Have a transformers model compute its attention maps, which fused kernels never hold."""
        before = getattr(self.config, "_attn_implementation", None)
        if not needed or before in (None, "eager") or not self._transformers:
            yield
            return
        model: Any = self.model
        model.set_attn_implementation("eager")
        try:
            yield
        finally:
            model.set_attn_implementation(before)


_POSITIONS = ("input_ids", "attention_mask", "token_type_ids")


def _get(output: Any, key: str) -> Any:
    return output.get(key) if isinstance(output, dict) else getattr(output, key, None)


def culprit(teacher: Outputs, student: Outputs) -> str:
    """Say whose output is the first that is not finite."""
    for name, outputs in (("teacher", teacher), ("student", student)):
        for what, tensor in outputs.named():
            if not torch.isfinite(tensor).all():
                return f"the {name}'s {what} are not finite"
    return "teacher and student give finite outputs"
