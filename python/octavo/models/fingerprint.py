# SPDX-License-Identifier: Apache-2.0
"""What tells a decoder from others: whose keys and values are whose."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from octavo import nn
from octavo.lora.layer import base_of
from octavo.nn.module import last_change

if TYPE_CHECKING:
    from octavo._types import Array
    from octavo.models.decoder import Decoder

_MOST_NUMBERS = 4096
"""Of a layer."""

_known: WeakKeyDictionary[Decoder, tuple[list[Any], str]] = WeakKeyDictionary()
"""The last fingerprint of each model, and what it is of."""


def fingerprint(model: Decoder) -> str:
    """Return a hash of a decoder as it is now, without adapters; the same on every machine.

    It is made of the config, the kinds of the layers, and some numbers of each: the weights of
    norms, the scales of codes, or the first row of a weight without.
    """
    # Read before the model is: what changes meanwhile is seen at the next call.
    state = [last_change(), *model.model.layers]
    before, found = _known.get(model, ([], ""))
    if len(before) != len(state) or any(a is not b for a, b in zip(before, state, strict=True)):
        found = _fingerprint(model)
        _known[model] = state, found
    return found


def _fingerprint(model: Decoder) -> str:
    raw = {key: value for key, value in model.config.raw.items() if not key.startswith("_")}
    found = hashlib.sha256(json.dumps(raw, sort_keys=True, default=str).encode())
    for name, module in model.named_modules():
        layer = base_of(module)
        found.update(f"{name}:{layer.kind};".encode())
        numbers = _numbers(layer)
        step = max(1, numbers.size // _MOST_NUMBERS)
        found.update(numbers.reshape(-1)[::step].tobytes())
    return found.hexdigest()


def _numbers(layer: nn.Module) -> Array:
    if layer.role == "rms_norm":
        return layer.state_dict()["weight"]
    if not (nn.is_linear(layer) or nn.is_embedding(layer)):
        return np.empty(0, np.float32)
    weight: Any = layer.held_weight
    return weight.scale if hasattr(weight, "scale") else weight.rows(0, 1)
