# SPDX-License-Identifier: Apache-2.0
"""LoRA adapters out of GGUF files, as llama.cpp converts them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from octavo._text import shown
from octavo.io.gguf import open_gguf
from octavo.lora import Adapter
from octavo.models.decoder_config import DecoderConfig
from octavo.models.gguf_tensors import GgufTensors

_PARTS = {".weight.lora_a": ".lora_A.weight", ".weight.lora_b": ".lora_B.weight"}
# Model types whose files have another name.
_ARCHITECTURES = {"gemma3_text": "gemma3", "mistral": "llama"}


def read_gguf_adapter(path: str | os.PathLike[str], config: DecoderConfig) -> Adapter:
    """Read an adapter of a base with this config.

    Raises
    ------
    ValueError
        If it is no LoRA adapter, one of another architecture, or corrupt; the message names the
        file.
    """
    file = open_gguf(Path(path))
    wanted = {
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.alora.invocation_tokens": None,
        "general.architecture": _ARCHITECTURES.get(config.model_type, config.model_type),
    }
    for key, value in wanted.items():
        found = file.metadata.get(key)
        if isinstance(found, np.ndarray) or found != value:
            raise ValueError(
                f"{file.path}: key {key!r} is {shown(found)}, expected {value!r} of a LoRA adapter"
                " of this base"
            )
    stored = GgufTensors(file, config.raw)
    tensors, ranks = {}, {}
    for name in stored:
        part = next((part for part in _PARTS if name.endswith(part)), None)
        if part is None:
            raise ValueError(f"{file.path}: tensor {shown(name)}: expected one of lora_a or lora_b")
        layer = name.removesuffix(part)
        tensors[layer + _PARTS[part]] = stored.array(name)
        if part.endswith("a"):
            ranks[layer] = stored.tensors[name].shape[0]
    rank = next(iter(ranks.values()), 1)
    made: dict[str, Any] = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": file.metadata.get("adapter.lora.alpha"),
        "rank_pattern": {name: own for name, own in ranks.items() if own != rank},
    }
    try:
        return Adapter.from_tensors(made, tensors)
    except ValueError as error:
        raise ValueError(f"{file.path}: {error}") from None
