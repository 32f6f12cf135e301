# SPDX-License-Identifier: Apache-2.0
"""Graphs of tensors and operators, as TensorFlow Lite has them, and what runs them.

A `Graph` is data: readers make it, quantizers change it, writers save it.
"""

from __future__ import annotations

from octavo.graph.graph import Graph, Operator, Quantization, Signature, Tensor
from octavo.graph.infer import infer_shapes
from octavo.graph.session import Session

__all__ = [
    "Graph",
    "Operator",
    "Quantization",
    "Session",
    "Signature",
    "Tensor",
    "infer_shapes",
]
