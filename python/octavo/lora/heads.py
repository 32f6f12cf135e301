# SPDX-License-Identifier: Apache-2.0
"""Classification heads that come with adapters, on models that have none of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from octavo import nn
from octavo._text import shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from octavo.lora.adapted import Adapted


class NoHead(nn.Module):
    """What stands in the place of a head while no adapter that has one is in use."""

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        """Raise ValueError."""
        raise ValueError(
            "model: expected a classification head, which belongs to an adapter that is not in use"
        )

    @property
    def nbytes(self) -> int:
        """Nothing."""
        return 0


def is_head(model: Adapted, name: str) -> bool:
    """Whether a layer belongs to a classification head."""
    return f"{name}.".startswith(model.head_prefixes)


def new_head(
    model: Adapted, name: str, tensors: Mapping[str, NDArray[Any]], task: str
) -> nn.Linear | None:
    """Return a layer of a head for a model without one; None if the model has no place for it."""
    if name not in vars(model):
        return None
    missing = model.missing_for_head(task)
    if missing:
        raise ValueError(
            f"adapter of another base: layer {shown(name)} reads a {missing}, which is missing"
        )
    activation = "none" if name in model.output_of_task.values() else "relu"
    made = nn.FloatLinear.from_state_dict(tensors, activation=activation)
    if made.in_features != model.config.hidden_size:
        raise ValueError(
            f"adapter of another base: layer {shown(name)} reads {made.in_features} values, the"
            f" model has {model.config.hidden_size}"
        )
    return made


def take_heads(model: Adapted, versions: Mapping[str, nn.Module], task: str) -> None:
    """Make the heads among `versions` a model's own, and let its config tell."""
    absent = {name for name, part in vars(model).items() if part is None}
    new = {n: layer for n, layer in versions.items() if n in absent and is_head(model, n)}
    for name, layer in new.items():
        setattr(model, name, layer)
    outputs = model.output_of_task
    task = task or next((task for task, name in outputs.items() if name in new), "")
    output = new.get(outputs.get(task, ""))
    if nn.is_linear(output, "float32"):
        names = {str(i): f"LABEL_{i}" for i in range(output.out_features)}
        numbers = {label: int(index) for index, label in names.items()}
        raw = {**model.config.raw, "id2label": names, "label2id": numbers}
        raw.pop("num_labels", None)
        model.config = replace(model.config, task=task, labels=output.out_features, raw=raw)
