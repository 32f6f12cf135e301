# SPDX-License-Identifier: Apache-2.0
"""Whether an adapter is one of this base: names and shapes, the first mismatch is the error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from octavo import nn
from octavo._text import shown
from octavo._warn import warn
from octavo.io.checkpoint import left_out
from octavo.lora.adapter import Adapter
from octavo.lora.heads import NoHead, is_head, new_head
from octavo.lora.layer import base_of
from octavo.lora.low_rank import LowRank

if TYPE_CHECKING:
    from octavo.lora.adapted import Adapted


def fitting_pairs(model: Adapted, adapter: Adapter) -> dict[str, LowRank]:
    """Return the low-rank pairs of an adapter by the names that layers have in `model`."""
    leaves = _leaves(model)
    found = {}
    for full, side in adapter.layers.items():
        name = _own_name(model, full)
        layer: Any = leaves.get(name)
        if not nn.is_linear(layer):
            what = "no such layer" if layer is None else f"a {type(layer).__name__}"
            raise ValueError(
                f"adapter of another base: it changes a linear layer {shown(full)}, this"
                f" {type(model).__name__} has {what}"
            )
        if side.shape != layer.shape:
            raise ValueError(
                f"adapter of another base: layer {shown(full)} has {layer.shape} weights (outputs,"
                f" inputs), the adapter expects {side.shape}"
            )
        if layer.options.output_scale is not None:
            raise ValueError(f"layer {shown(name)} gives int8 output; it cannot take an adapter")
        found[name] = side
    return found


def fitting_modules(model: Adapted, adapter: Adapter) -> dict[str, nn.Module]:
    """Return the layers of `model` that an adapter replaces, in the adapter's version.

    A head may be new to the model. What else the adapter has beyond the model stays in
    ``adapter.modules``, and a warning names it.
    """
    leaves = _leaves(model)
    own = model.config.task
    if own and adapter.task and own != adapter.task:
        raise ValueError(
            f"adapter of another base: it is one for {adapter.task}, the model for {own}"
        )
    found: dict[str, nn.Module] = {}
    beyond = []
    for full, tensors in adapter.modules.items():
        name = _own_name(model, full)
        layer: Any = leaves.get(name)
        if layer is None or isinstance(layer, NoHead):
            head = new_head(model, name, tensors, adapter.task) if is_head(model, name) else None
            if head is not None:
                found[name] = head
            elif f"{name}.".startswith(model.prefixes()):
                raise ValueError(
                    f"adapter of another base: it replaces a layer {shown(full)}, this"
                    f" {type(model).__name__} has no such layer"
                )
            else:
                beyond.append(full)
            continue
        made = _version(layer, tensors)
        if nn.is_embedding(made) and made.shape[0] > layer.shape[0]:
            raise ValueError(
                f"adapter of another base: table {shown(full)} has {layer.shape[0]} rows, the"
                f" adapter's {made.shape[0]}; a vocabulary that grew is not read, so merge the"
                " adapter with peft (merge_and_unload), save that model and load it"
            )
        if made is None or made.shape != layer.shape:
            raise ValueError(
                f"adapter of another base: layer {shown(full)} is {shown(layer)},"
                f" the adapter has { ({key: value.shape for key, value in tensors.items()}) }"
            )
        found[name] = made
    if beyond:
        warn(f"adapter: {left_out(beyond)}")
    return found


def _leaves(model: Adapted) -> dict[str, nn.Module]:
    return {
        name: base_of(module)
        for name, module in model.named_modules()
        if not any(True for _ in module.named_children())
    }


def _own_name(model: Adapted, full: str) -> str:
    """Return a layer's name without the model's own, as ``bert.`` in a model with a head."""
    return full.removeprefix(f"{model.config.prefix}.")


def _version(layer: Any, tensors: dict[str, Any]) -> Any:
    """Return a float layer of the kind of `layer` with other numbers; None if they do not fit."""
    try:
        if nn.is_linear(layer):
            return nn.FloatLinear.from_state_dict(tensors, activation=layer.activation)
        if isinstance(layer, nn.LayerNorm):
            return nn.LayerNorm.from_state_dict(tensors, **layer.config())
        if nn.is_embedding(layer):
            return nn.FloatEmbedding.from_state_dict(tensors)
    except ValueError:
        return None
    return None
