# SPDX-License-Identifier: Apache-2.0
"""What an ``adapter_config.json`` says about each layer's rank and scale."""

from __future__ import annotations

import math
import sys
from typing import Any

from octavo._checks import float32_value
from octavo._patterns import pattern_of
from octavo._text import shown

# What peft writes for plain LoRA: none of these, or false.
_VARIANTS = {
    "use_dora": "DoRA",
    "use_qalora": "QA-LoRA",
    "alora_invocation_tokens": "activated LoRA",
    "arrow_config": "Arrow",
    "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA",
    "use_bdlora": "BD-LoRA",
    "velora_config": "VeLoRA",
    "layer_replication": "layers that occur twice",
    "target_parameters": "adapted parameters outside linear layers",
    "trainable_token_indices": "trained rows of an embedding",
}
TASKS = {
    "SEQ_CLS": "SequenceClassification",
    "TOKEN_CLS": "TokenClassification",
    "QUESTION_ANS": "QuestionAnswering",
}
"""peft's names of tasks, and transformers' of models for them."""
_LARGEST = sys.float_info.max
_INITS = (True, False, None, "gaussian", "orthogonal", "eva")


def check_config(config: dict[str, Any]) -> None:
    """Refuse adapters that are no plain LoRA."""
    kind = config.get("peft_type")
    if kind != "LORA":
        raise ValueError(f"peft_type: expected 'LORA', got {shown(kind)}")
    for name, what in _VARIANTS.items():
        if config.get(name):
            raise ValueError(f"{name}: expected plain LoRA, got {what}, which is not read")
    init = config.get("init_lora_weights")
    if init not in _INITS:
        raise ValueError(
            f"init_lora_weights: expected an adapter of an unchanged base, got {shown(init)}, which"
            " changes the base's weights; convert it when saving"
            " (path_initial_model_for_weight_conversion)"
        )
    if config.get("bias", "none") != "none":
        raise ValueError(
            f"bias: expected 'none', got {shown(config['bias'])}: the base does not change"
        )
    whole = config.get("modules_to_save") or []
    if not isinstance(whole, list) or not all(isinstance(name, str) for name in whole):
        raise ValueError(f"modules_to_save: expected a list of names, got {shown(whole)}")
    _positive(config.get("r"), "r", int)
    _positive(config.get("lora_alpha"), "lora_alpha", (int, float))
    for name, kinds in (("rank_pattern", int), ("alpha_pattern", (int, float))):
        pattern = config.get(name) or {}
        if not isinstance(pattern, dict):
            raise ValueError(f"{name}: expected an object, got {type(pattern).__name__}")
        for key, value in pattern.items():
            _positive(value, f"{name}[{shown(key)}]", kinds)
            try:
                pattern_of(key)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None


def scale_of(config: dict[str, Any], layer: str) -> tuple[int, float]:
    """Return the rank and the scale of a layer, by its full name in the base model.

    Raises
    ------
    ValueError
        If float32 has no such scale.
    """
    rank = _of_pattern(config, "rank_pattern", layer, config["r"])
    alpha = _of_pattern(config, "alpha_pattern", layer, config["lora_alpha"])
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    if not 0 < float32_value(scale) < math.inf:
        raise ValueError(f"lora_alpha: expected a scale that float32 holds, got {scale:g}")
    return rank, scale


def _of_pattern(config: dict[str, Any], name: str, layer: str, default: Any) -> Any:
    """Return the value of the first key that matches the end of a layer's name, as in peft."""
    pattern: dict[str, Any] = config.get(name) or {}
    for key, value in pattern.items():
        if pattern_of(rf"(.*\.)?({key})$").match(layer):
            return value
    return default


def _positive(value: Any, name: str, kinds: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value <= _LARGEST:
        raise ValueError(f"{name}: expected a positive number, got {shown(value)}")
