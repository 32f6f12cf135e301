# SPDX-License-Identifier: Apache-2.0
"""Layers: linear ones and tables over weights of any kind, and what stands between them."""

from __future__ import annotations

from octavo.nn.activation import Activation
from octavo.nn.attention import Attention
from octavo.nn.embedding import Embedding, FloatEmbedding, HalfEmbedding, is_embedding
from octavo.nn.linear import Linear, is_linear
from octavo.nn.module import Module
from octavo.nn.norm import LayerNorm, RMSNorm
from octavo.nn.options import LinearOptions
from octavo.nn.shorthands import FloatLinear, HalfLinear, OutlierLinear
from octavo.nn.side_paths import SidePath
from octavo.nn.sparse_linear import SparseLinear

__all__ = [
    "Activation",
    "Attention",
    "Embedding",
    "FloatEmbedding",
    "FloatLinear",
    "HalfEmbedding",
    "HalfLinear",
    "LayerNorm",
    "Linear",
    "LinearOptions",
    "Module",
    "OutlierLinear",
    "RMSNorm",
    "SidePath",
    "SparseLinear",
    "is_embedding",
    "is_linear",
]
