# SPDX-License-Identifier: Apache-2.0
"""What a file does to its constants before it uses them, done once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from octavo._types import Array
    from octavo.graph import Graph, Operator, Tensor
    from octavo.tflite.constants import Tensors

_FLOAT32 = np.dtype(np.float32)


def fold_constants(graph: Graph, tensors: Tensors) -> None:
    """Replace what DENSIFY and DEQUANTIZE make of constants by more constants.

    Parameters
    ----------
    graph : Graph
        As it was read, not yet checked.
    tensors : Tensors
        Who has read it, and counts what is made.
    """
    kept = []
    for index, operator in enumerate(graph.operators):
        value = _folded(graph, operator, f"operators[{index}]", tensors)
        if value is None:
            kept.append(operator)
        else:
            graph.tensors[operator.outputs[0]].data = value
    if len(kept) < len(graph.operators):
        graph.operators = kept
        _drop_unread(graph)


def _folded(graph: Graph, operator: Operator, where: str, tensors: Tensors) -> Array | None:
    """Return the constant that an operator makes; None if it has to run."""
    ends = (*operator.inputs, *operator.outputs)
    if operator.kind not in ("densify", "dequantize") or len(ends) != 2:
        return None
    if not all(0 <= end < len(graph.tensors) for end in ends):
        return None
    source, made = (graph.tensors[end] for end in ends)
    if source.data is None or made.data is not None:
        return None
    if operator.kind == "densify":  # sparse tensors are dense once they are read
        return source.data
    codes = source.quantization
    if made.dtype != _FLOAT32 or (source.dtype.kind != "f" if codes is None else not _fits(source)):
        return None
    tensors.take(source.data.size * _FLOAT32.itemsize, where)
    with np.errstate(all="ignore"):  # scales may be anything until the graph is checked
        return source.data.astype(_FLOAT32) if codes is None else codes.dequantized(source.data)


def _fits(source: Tensor) -> bool:
    """Whether there is a scale for each channel; the graph's check says so where there is not."""
    codes = source.quantization
    assert codes is not None
    axis, count = codes.axis, codes.scale.size
    return count == 1 or (0 <= axis < len(source.shape) and source.shape[axis] == count)


def _drop_unread(graph: Graph) -> None:
    """Free the constants that were only read to make others."""
    read = {index for operator in graph.operators for index in operator.inputs} | {*graph.outputs}
    for index, tensor in enumerate(graph.tensors):
        if index not in read:
            tensor.data = None
