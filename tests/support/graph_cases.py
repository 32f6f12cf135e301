# SPDX-License-Identifier: Apache-2.0
"""Graphs of a few operators each, in float32 and in int8."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from octavo.graph import Graph, Quantization
from tests.support.graphs import F32, I8, Draft, weights

Q, QY = (0.05, 3), (0.1, -7)
RNG = np.random.default_rng(5)


def sample(graph: Graph) -> list[np.ndarray]:
    """Return inputs, the same ones for the same graph."""
    rng = np.random.default_rng(5)
    made = []
    for index in graph.inputs:
        tensor = graph.tensors[index]
        if tensor.dtype.kind == "f":
            made.append(rng.standard_normal(tensor.shape).astype(tensor.dtype))
        elif tensor.dtype == np.bool_:
            made.append(rng.random(tensor.shape) < 0.5)
        else:
            limits = np.iinfo(tensor.dtype)
            made.append(rng.integers(limits.min, limits.max + 1, tensor.shape, tensor.dtype))
    return made


CASES: dict[str, Callable[[Draft, Any, Any], int]] = {}


def build(name: str, t: Any) -> Graph:
    """Return one of the graphs, in one type."""
    RNG.bit_generator.state = np.random.default_rng(5).bit_generator.state
    draft = Draft()
    return draft.done(CASES[name](draft, t, Q if t == I8 else None))


def case(function: Callable[[Draft, Any, Any], int]) -> Callable[[Draft, Any, Any], int]:
    CASES[function.__name__] = function
    return function


def product(draft: Draft, kind: str, x: int, shape: Any, axis: int, t: Any, **options: Any) -> int:
    n, out = shape[axis], {"q": QY, "dtype": t} if t == I8 else {}
    if t == I8:
        codes, q = weights(*shape, axis=axis)
        weight, bias = draft.constant(codes, q), draft.constant(RNG.integers(-999, 999, n))
    else:
        weight = draft.constant(RNG.standard_normal(shape))
        bias = draft.constant(RNG.standard_normal(n))
    return draft.op(kind, x, weight, bias, **out, **options)


@case
def conv(draft: Draft, t: Any, q: Any) -> int:
    x = draft.input(2, 9, 7, 6, dtype=t, q=q)
    options = {"stride_h": 2, "padding": "same", "fused_activation_function": "relu6"}
    return product(draft, "conv_2d", x, (8, 3, 3, 3), 0, t, **options)  # two groups


@case
def pad_and_conv(draft: Draft, t: Any, q: Any) -> int:
    x = draft.input(1, 8, 8, 3, dtype=t, q=q)
    ends = draft.constant([[0, 0], [1, 0], [2, 1], [0, 0]])
    return product(draft, "conv_2d", draft.op("pad", x, ends, q=q), (5, 3, 3, 3), 0, t)


@case
def depthwise(draft: Draft, t: Any, q: Any) -> int:
    x = draft.input(1, 9, 9, 5, dtype=t, q=q)
    options = {"dilation_h_factor": 2, "padding": "same", "depth_multiplier": 2}
    return product(draft, "depthwise_conv_2d", x, (1, 3, 3, 10), 3, t, **options)


@case
def dense(draft: Draft, t: Any, q: Any) -> int:
    x = draft.input(2, 3, 10, dtype=t, q=q)
    return product(draft, "fully_connected", x, (7, 10), 0, t, keep_num_dims=True)


@case
def transposed(draft: Draft, t: Any, q: Any) -> int:
    x = draft.input(1, 4, 5, 3, dtype=t, q=q)
    shape, strides = draft.constant([1, 8, 10, 4]), {"stride_h": 2, "stride_w": 2}
    if t == I8:
        weight = draft.constant(*weights(4, 3, 3, 3, axis=0))
    else:
        weight = draft.constant(RNG.standard_normal((4, 3, 3, 3)))
    return draft.op("transpose_conv", shape, weight, x, dtype=t, q=q, padding="same", **strides)


@case
def separate_bias_and_activation(draft: Draft, t: Any, q: Any) -> int:
    x = draft.input(6, 3, dtype=t, q=q)
    weight, out = draft.constant(RNG.standard_normal((4, 3))), {}
    if t == I8:
        weight, out = draft.constant(*weights(4, 3, axis=0)), {"q": QY}
    y = draft.op("fully_connected", x, weight, **out)
    bias = RNG.standard_normal(4) if t == F32 else RNG.integers(-128, 128, 4).astype(np.int8)
    y = draft.op("add", draft.constant(bias, QY if t == I8 else None), y, dtype=t, **out)
    return draft.op("relu", y, **out)


@case
def pools(draft: Draft, t: Any, q: Any) -> int:
    x = draft.input(2, 9, 8, 5, dtype=t, q=q)
    options = {"filter_height": 3, "filter_width": 2, "stride_h": 2, "padding": "same"}
    y = draft.op("max_pool_2d", x, q=q, **options)
    return draft.op("average_pool_2d", y, q=q, fused_activation_function="relu", **options)


@case
def residual_and_gate(draft: Draft, t: Any, q: Any) -> int:
    x = draft.input(2, 4, 4, 6, dtype=t, q=q)
    y = draft.op("hard_swish", x, q=q)
    gate = draft.op("logistic", draft.op("mean", y, draft.constant([1, 2]), q=q, keep_dims=True))
    draft.graph.tensors[gate].quantization = Quantization.per_tensor(1 / 256, -128) if q else None
    y = draft.op("mul", gate, y, q=q)
    return draft.op("sub", x, draft.op("add", x, y, q=q), q=q)


@case
def constants_beside(draft: Draft, t: Any, q: Any) -> int:
    x = draft.input(1, 3, 4, 6, dtype=t, q=q)
    kinds = ("mul", "sub", "maximum", "add")
    for kind, shape in zip(kinds, ((), (1,), (4, 1), (3, 1, 6)), strict=True):
        values = RNG.standard_normal(shape)
        if t == I8:
            values = RNG.integers(-128, 128, shape).astype(np.int8)
        x = draft.op(kind, x, draft.constant(values, q), q=q)
    return x


@case
def slopes(draft: Draft, t: Any, q: Any) -> int:
    x = draft.input(2, 5, 5, 4, dtype=t, q=q)
    alpha = RNG.uniform(0, 0.5, (1, 1, 4)) if t == F32 else RNG.integers(0, 99, (1, 1, 4), np.int8)
    y = draft.op("prelu", x, draft.constant(alpha, (0.01, 5) if q else None), q=q)
    return draft.op("leaky_relu", y, q=q, alpha=0.2)


@case
def pieces(draft: Draft, t: Any, q: Any) -> int:
    x = draft.input(2, 4, 6, 5, dtype=t, q=q)
    first, second = draft.op("split", draft.constant(2), x, dtype=t, q=q, outputs=2, num_splits=2)
    first = draft.op("transpose", first, draft.constant([0, 2, 1, 3]), q=q)
    first = draft.op("reshape", first, draft.constant([2, -1, 3, 5]), q=q)
    part = [draft.constant(c) for c in ([0, 3, 0, 1], [2, 0, 3, 5], [1, -1, 1, 2])]
    second = draft.op("strided_slice", x, *part, q=q, begin_mask=5)
    whole = draft.op("pack", first, first, q=q, axis=1, values_count=2)
    whole = draft.op("reshape", whole, q=q, new_shape=[2, 8, 3, 5])
    third = draft.op(
        "slice", whole, *[draft.constant(c) for c in ([0, 1, 0, 3], [2, 3, -1, 2])], q=q
    )
    ends = draft.constant([[0, 0], [0, 0], [0, 0], [1, 0]])
    third = draft.op("pad", third, ends, q=q)
    second = draft.op(
        "slice", second, *[draft.constant([0] * 4), draft.constant([2, 3, 3, 2])], q=q
    )
    return draft.op("concatenation", third, second, q=q, axis=-1)


@case
def resized(draft: Draft, t: Any, q: Any) -> int:
    x = draft.input(1, 4, 5, 3, dtype=t, q=q)
    y = draft.op("resize_bilinear", x, draft.constant([7, 9]), q=q, half_pixel_centers=True)
    return draft.op("resize_nearest_neighbor", y, draft.constant([4, 12]), q=q, align_corners=True)


@case
def probabilities(draft: Draft, t: Any, q: Any) -> int:
    x = draft.input(3, 11, dtype=t, q=q)
    return draft.op("softmax", x, q=(1 / 256, -128) if q else None, beta=1.0)


@case
def mixed(draft: Draft, t: Any, q: Any) -> int:
    """Steps, then what NumPy computes, then steps."""
    x = draft.input(4, 6, dtype=t, q=q)
    y = draft.op("l2_normalization", draft.op("relu", x, q=q), q=(1 / 128, 0) if q else None)
    return draft.op(
        "tanh", draft.op("reverse_v2", y, draft.constant([1]), q=(1 / 128, 0) if q else None), q=q
    )


WEIGHTED = {"conv_2d": (8, 3, 3, 4), "depthwise_conv_2d": (1, 3, 3, 4), "fully_connected": (8, 4)}


def of_uint8(kind: str, point: int) -> Graph:
    """Return a graph in the older uint8, whose weights have a zero point."""
    rng, draft, shape = np.random.default_rng(point), Draft(), WEIGHTED[kind]
    x = draft.input(1, 6, 6, 4, dtype=np.uint8, q=(0.02, 100))
    weight = draft.constant(rng.integers(0, 256, shape, np.uint8), (0.004, point))
    bias = rng.integers(-500, 500, max(shape[0], shape[-1]))
    options = {"padding": "same", "depth_multiplier": 1} if kind[0] != "f" else {}
    y = draft.op(kind, x, weight, draft.constant(bias, (0.00008, 0)), q=(0.05, 128), **options)
    if kind[0] == "f":
        return draft.done(y)
    return draft.done(draft.op("max_pool_2d", y, q=(0.05, 128), filter_width=2, filter_height=1))


def of_dynamic_range(kind: str) -> Graph:
    """Return a graph in float32 whose weights are int8."""
    rng, draft, shape = np.random.default_rng(1), Draft(), WEIGHTED[kind]
    x = draft.input(1, 6, 6, 4)
    codes, quantization = weights(*shape, axis=3 if kind[0] == "d" else 0)
    weight, bias = (
        draft.constant(codes, quantization),
        rng.standard_normal(max(shape[0], shape[-1])),
    )
    options = {"depth_multiplier": 1} if kind[0] == "d" else {}
    return draft.done(draft.op(kind, x, weight, draft.constant(bias), **options))
