# SPDX-License-Identifier: Apache-2.0
"""Telling peft about int8 layers.

peft takes layers of others per `LoraConfig` only, and a config read from a file has lost them, so
its dispatcher is wrapped: int8 layers are octavo's, everything else goes to the original.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from peft.tuners import tuners_utils
from peft.tuners.lora import LoraModel
from peft.tuners.lora import model as lora_model

from octavo.peft.layer import LoraLinear
from octavo.torch import Embedding, Linear

_ALL_LINEAR = "all-linear"


def register() -> None:
    """Wrap peft's dispatcher, once."""
    if getattr(LoraModel._create_new_module, "knows_octavo", False):
        return
    LoraModel._create_new_module = staticmethod(_creating(LoraModel._create_new_module))
    LoraModel._prepare_model = _preparing(LoraModel._prepare_model)
    lora_model.get_device_map = _placing(lora_model.get_device_map)


def _creating(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def create(lora_config: Any, adapter_name: str, target: Any, **options: Any) -> Any:
        base = target.get_base_layer() if hasattr(target, "get_base_layer") else target
        if isinstance(base, Embedding):
            raise ValueError(
                f"target_modules: expected linear layers, got the int8 table"
                f" {options.get('target_name')!r}; leave tables float with"
                " Int8Dynamic(embeddings=False) to adapt them"
            )
        if not isinstance(base, Linear):
            return original(lora_config, adapter_name, target, **options)
        if options.get("parameter_name") is not None:
            raise ValueError(
                f"target_parameters: expected none on int8 layers, got"
                f" {options['parameter_name']!r}; name the layer in target_modules"
            )
        return LoraLinear(target, adapter_name, config=lora_config, **options)

    create.knows_octavo = True  # type: ignore[attr-defined]
    return create


def _placing(original: Callable[..., Any]) -> Callable[..., Any]:
    """Say where a model without any parameters is: int8 layers have buffers only."""

    @functools.wraps(original)
    def device_map(model: Any) -> Any:
        if next(model.parameters(), None) is None and not hasattr(model, "hf_device_map"):
            return {"": torch.device("cpu")}
        return original(model)

    return device_map


def _preparing(original: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse int8 layers that are to train; let ``"all-linear"`` mean int8 layers too."""

    @functools.wraps(original)
    def prepare(self: Any, peft_config: Any, model: Any) -> None:
        original(self, peft_config, model)
        _require_float(peft_config.modules_to_save or (), model)
        targets = peft_config.target_modules
        if not isinstance(targets, str) or targets.lower() != _ALL_LINEAR:
            return
        head = getattr(model, "get_output_embeddings", lambda: None)()
        ours = {
            name
            for name, module in model.named_modules()
            if isinstance(module, Linear) and module is not head and ".base_layer" not in f".{name}"
        }
        if ours:
            tuners_utils._maybe_include_all_linear_layers(peft_config, model)
            peft_config.target_modules |= ours

    return prepare


def _require_float(wanted: Any, model: Any) -> None:
    for name, module in model.named_modules():
        if isinstance(module, (Linear, Embedding)) and any(f".{w}." in f".{name}." for w in wanted):
            raise ValueError(
                f"modules_to_save: expected float layers, got the int8 layer {name!r}, which does"
                " not train; leave it float when the model is quantized"
            )
