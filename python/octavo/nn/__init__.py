# SPDX-License-Identifier: Apache-2.0
"""Layers: int8 ones, and the float ones they stand beside."""

from __future__ import annotations

from octavo.nn.activation import Activation
from octavo.nn.attention import Attention
from octavo.nn.embedding import Embedding, FloatEmbedding
from octavo.nn.float_linear import FloatLinear
from octavo.nn.half import HalfEmbedding, HalfLinear
from octavo.nn.linear import Linear
from octavo.nn.module import Module
from octavo.nn.norm import LayerNorm
from octavo.nn.outlier_linear import OutlierLinear
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
    "Module",
    "OutlierLinear",
    "SparseLinear",
]
