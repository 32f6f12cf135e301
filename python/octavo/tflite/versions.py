# SPDX-License-Identifier: Apache-2.0
"""Versions of operators: by them a runtime tells what it can run before it tries."""

from __future__ import annotations

from typing import Any

import numpy as np

from octavo.graph import Graph, Operator, Tensor

RUNTIME = "2.17.0"
"""The runtime that has all versions which are written."""

# With int8 an operator has version 2, but for these, which took any type from the start.
_ALWAYS_FIRST = frozenset(
    (
        *("reshape", "squeeze", "expand_dims", "prelu", "relu_n1_to_1", "hard_swish"),
        *("depth_to_space", "shape", "rank"),
    )
)
# Options that came later: since which version, and the value that they had before.
_OPTIONS: dict[str, tuple[tuple[int, str, Any], ...]] = {
    "conv_2d": (),
    "depthwise_conv_2d": ((2, "dilation_w_factor", 1), (2, "dilation_h_factor", 1)),
    "fully_connected": (
        (2, "weights_format", "default"),
        (5, "keep_num_dims", False),
        (9, "asymmetric_quantize_inputs", False),
    ),
}
_RESIZED = frozenset(("resize_bilinear", "resize_nearest_neighbor"))

# Of operators with weights: versions for float inputs beside int8 weights with one scale, or with
# one per channel, and for int8 inputs.
_WEIGHTED = {
    "conv_2d": (2, 5, 3),
    "depthwise_conv_2d": (4, 6, 3),
    "fully_connected": (3, 12, 4),
}


def version_of(graph: Graph, operator: Operator) -> int:
    """Return the lowest version of an operator that has what this one uses."""
    kind, options = operator.kind, operator.options
    inputs = [graph.tensors[index] for index in operator.inputs if index >= 0]
    is_int8 = any(one.dtype == np.int8 for one in inputs)
    if kind == "conv_2d" and inputs[0].shape[-1:] != inputs[1].shape[-1:]:
        return 6  # groups of channels
    if kind in _WEIGHTED:
        version = _of_weights(kind, inputs[0], inputs[1]) if is_int8 else 1
        return max(
            [version]
            + [
                since
                for since, option, before in _OPTIONS[kind]
                if options.get(option, before) != before
            ]
        )
    if kind == "transpose_conv":
        has_activation = options.get("fused_activation_function", "none") != "none"
        return 4 if has_activation else 3 if len(inputs) > 3 else 1 + is_int8
    if kind == "broadcast_to":
        return 2 + is_int8
    if kind == "dequantize":
        return 3 if inputs[0].dtype == np.float16 else 1 + is_int8
    if kind == "quantize":
        return 1 + (inputs[0].dtype != np.float32)
    if kind in _RESIZED and (options.get("half_pixel_centers") or options.get("align_corners")):
        return 3
    return 1 if kind in _ALWAYS_FIRST else 1 + is_int8


def _of_weights(kind: str, x: Tensor, weights: Tensor) -> int:
    whole, per_channel, int8 = _WEIGHTED[kind]
    has_channels = weights.quantization is not None and weights.quantization.scale.size > 1
    if x.dtype == np.int8 and not (has_channels and kind == "fully_connected"):
        return int8
    return per_channel if has_channels else whole
