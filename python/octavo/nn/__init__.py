# SPDX-License-Identifier: Apache-2.0
"""Layers: linear ones and tables over weights of any kind, those on images, and what is between."""

from __future__ import annotations

from octavo.nn.activation import Activation
from octavo.nn.arrange import Concatenate, Softmax, Upsample
from octavo.nn.attention import Attention
from octavo.nn.conv import Conv2d, DepthwiseConv2d, FloatConv2d, FloatDepthwiseConv2d
from octavo.nn.elementwise import Add, Hardswish, PReLU, ReLU6
from octavo.nn.embedding import Embedding, FloatEmbedding, HalfEmbedding, is_embedding
from octavo.nn.linear import Linear, is_linear
from octavo.nn.module import Module
from octavo.nn.norm import LayerNorm, RMSNorm
from octavo.nn.options import LinearOptions
from octavo.nn.pool import AvgPool2d, MaxPool2d
from octavo.nn.shorthands import FloatLinear, HalfLinear, OutlierLinear
from octavo.nn.side_paths import SidePath
from octavo.nn.sparse_linear import SparseLinear

__all__ = [
    "Activation",
    "Add",
    "Attention",
    "AvgPool2d",
    "Concatenate",
    "Conv2d",
    "DepthwiseConv2d",
    "Embedding",
    "FloatConv2d",
    "FloatDepthwiseConv2d",
    "FloatEmbedding",
    "FloatLinear",
    "HalfEmbedding",
    "HalfLinear",
    "Hardswish",
    "LayerNorm",
    "Linear",
    "LinearOptions",
    "MaxPool2d",
    "Module",
    "OutlierLinear",
    "PReLU",
    "RMSNorm",
    "ReLU6",
    "SidePath",
    "Softmax",
    "SparseLinear",
    "Upsample",
    "is_embedding",
    "is_linear",
]
