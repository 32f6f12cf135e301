# SPDX-License-Identifier: Apache-2.0
"""A sentence encoder of MiniLM's shape with random int8 weights, made in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from octavo import nn
from octavo.models import BertModel
from octavo.models.config import read_config

SHAPES = ((1, 16), (1, 128))

_CONFIG = {
    "model_type": "bert",
    "vocab_size": 1000,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
}


class _RandomLayers:
    """A `octavo.models.build.LayerSource` of layers that exist nowhere else."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)

    def has(self, name: str) -> bool:  # noqa: ARG002
        return False

    def linear(
        self,
        name: str,  # noqa: ARG002
        outputs: int,
        inputs: int,
        activation: str = "none",
        *,
        has_bias: bool = True,
    ) -> nn.Linear:
        bias = np.zeros(outputs, np.float32) if has_bias else None
        codes, scale = self._codes(outputs, inputs), self._scales(outputs, inputs)
        return nn.Linear.from_quantized(codes, scale, bias, activation=activation)

    def embedding(self, name: str, rows: int, columns: int) -> nn.Embedding:  # noqa: ARG002
        return nn.Embedding.from_quantized(self._codes(rows, columns), self._scales(rows, 1))

    def layer_norm(
        self,
        name: str,  # noqa: ARG002
        size: int,
        epsilon: float,
        *,
        has_bias: bool = True,
    ) -> nn.LayerNorm:
        bias = np.zeros(size, np.float32) if has_bias else None
        return nn.LayerNorm(np.ones(size, np.float32), bias, eps=epsilon)

    def _codes(self, rows: int, columns: int) -> Any:
        return self._random.integers(-127, 128, (rows, columns), np.int8)

    def _scales(self, rows: int, inputs: int) -> Any:
        # Codes are about 73 large: outputs are of order one.
        return np.full(rows, 1 / (73 * np.sqrt(inputs)), np.float32)


def make_encoder() -> BertModel:
    """Return the encoder; 11 MB.

    Examples
    --------
    >>> make_encoder().encode([[1, 2, 3]]).shape
    (1, 384)
    """
    return BertModel(read_config(_CONFIG), _RandomLayers())
