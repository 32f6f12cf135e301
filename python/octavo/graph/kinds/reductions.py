# SPDX-License-Identifier: Apache-2.0
"""Operators that look at all elements along an axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from octavo import _elementary
from octavo._ops.floats import softmax
from octavo._types import Array
from octavo.graph.kinds.call import ANY, FLOATS, NUMBERS, Call, Kind, Shape, like_first


def axes_of(call: Call) -> tuple[int, ...]:
    """Return the axes that a reduction takes together."""
    return tuple(sorted({call.axis(axis, len(call.shape(0))) for axis in call.known(1)}))


def _reduced(call: Call) -> list[Shape]:
    axes, shape = axes_of(call), call.shape(0)
    if call.flag("keep_dims"):
        return [tuple(1 if axis in axes else size for axis, size in enumerate(shape))]
    return [tuple(size for axis, size in enumerate(shape) if axis not in axes)]


def _reduction(function: Any) -> Callable[..., Array]:
    def run(call: Call, x: Array, *_: Array) -> Array:
        return function(x, axis=axes_of(call), keepdims=call.flag("keep_dims"))

    return run


def _mean(x: Array, axis: tuple[int, ...], keepdims: bool) -> Array:
    total = x.sum(axis, keepdims=keepdims)
    count = max(x.size // max(total.size, 1), 1)
    return total / np.float32(count) if x.dtype.kind == "f" else np.trunc(total / count)


def _extreme(function: Any, highest: bool) -> Any:
    def run(x: Array, axis: tuple[int, ...], keepdims: bool) -> Array:
        limits = np.finfo(x.dtype) if x.dtype.kind == "f" else np.iinfo(x.dtype)
        start = limits.max if highest else limits.min
        return function(x, axis, keepdims=keepdims, initial=start)

    return run


def _arg_shape(call: Call) -> list[Shape]:
    shape = call.shape(0)
    axis = call.axis(call.known(1)[0], len(shape))
    call.need(shape[axis] > 0, f"elements along axis {axis}", shape)
    return [(*shape[:axis], *shape[axis + 1 :])]


def _soft(call: Call) -> list[Shape]:
    call.need(len(call.shape(0)) > 0, "an axis", ())
    return like_first(call)


def _softmax(call: Call, x: Array) -> Array:
    return softmax(x * np.float32(call.options.get("beta", 1.0)))


def _log_softmax(_: Call, x: Array) -> Array:
    wide = x.astype(np.float64)
    wide -= wide.max(-1, keepdims=True, initial=-np.finfo(np.float32).max)
    return wide - _elementary.log(_elementary.exp(np.maximum(wide, -200)).sum(-1, keepdims=True))


def _normalized(_: Call, x: Array) -> Array:
    squares = np.square(x.astype(np.float64)).sum(-1, keepdims=True)
    return x / np.sqrt(np.maximum(squares, 1e-12))


def _top_shape(call: Call) -> list[Shape]:
    shape, wanted = call.shape(0), int(call.one(1))
    call.need(len(shape) > 0 and 0 <= wanted <= shape[-1], "as many as there are", wanted)
    return [(*shape[:-1], wanted)] * 2


def _top(call: Call, x: Array, *_: Array) -> list[Array]:
    # From the end of a stable order upwards: of equal elements the first comes first.
    turned = np.argsort(x[..., ::-1], axis=-1, kind="stable")[..., ::-1][..., : int(call.one(1))]
    indices = x.shape[-1] - 1 - turned
    return [np.take_along_axis(x, indices, -1), indices]


def _one_hot_shape(call: Call) -> list[Shape]:
    shape, depth = call.shape(0), int(call.one(1))
    axis = call.integer("axis", -1)
    axis = len(shape) if axis == -1 else call.axis(axis, len(shape) + 1)
    call.need(depth >= 0, "a depth of at least 0", depth)
    return [(*shape[:axis], depth, *shape[axis:])]


def _one_hot(call: Call, indices: Array, _: Array, on: Array, off: Array) -> Array:
    axis = call.integer("axis", -1)
    axis = indices.ndim if axis == -1 else axis
    places = np.arange(int(call.one(1))).reshape(-1, *[1] * (indices.ndim - axis))
    return np.where(np.expand_dims(indices, axis) == places, on.reshape(()), off.reshape(()))


def _cumsum_shape(call: Call) -> list[Shape]:
    call.axis(int(call.one(1)), len(call.shape(0)))
    return like_first(call)


def _cumsum(call: Call, x: Array, *_: Array) -> Array:
    along = int(call.one(1))
    turned = np.flip(x, along) if call.flag("reverse") else x
    total = np.cumsum(turned, along, dtype=x.dtype)
    if call.flag("exclusive"):
        total = total - turned
    return np.flip(total, along) if call.flag("reverse") else total


def _shape_shape(call: Call) -> list[Shape]:
    return [(len(call.shape(0)),)]


KINDS = {
    "mean": Kind((2, 2), _reduced, _reduction(_mean)),
    "sum": Kind((2, 2), _reduced, _reduction(np.sum)),
    "reduce_prod": Kind((2, 2), _reduced, _reduction(np.prod)),
    "reduce_max": Kind((2, 2), _reduced, _reduction(_extreme(np.max, False)), codes="moved"),
    "reduce_min": Kind((2, 2), _reduced, _reduction(_extreme(np.min, True)), codes="moved"),
    "reduce_any": Kind((2, 2), _reduced, _reduction(np.any), ("bool",)),
    "reduce_all": Kind((2, 2), _reduced, _reduction(np.all), ("bool",)),
    "arg_max": Kind(
        (2, 2),
        _arg_shape,
        lambda call, x, *_: x.argmax(call.known(1)[0]),
        NUMBERS,
        (0,),
        "",
        "raw",
    ),
    "arg_min": Kind(
        (2, 2),
        _arg_shape,
        lambda call, x, *_: x.argmin(call.known(1)[0]),
        NUMBERS,
        (0,),
        "",
        "raw",
    ),
    "softmax": Kind((1, 1), _soft, _softmax, FLOATS),
    "log_softmax": Kind((1, 1), _soft, _log_softmax, FLOATS),
    "l2_normalization": Kind((1, 1), _soft, _normalized, FLOATS),
    "topk_v2": Kind((2, 2), _top_shape, _top, NUMBERS, (0,), "", "moved"),
    "one_hot": Kind((4, 4), _one_hot_shape, _one_hot, ANY, (2, 3), "same", "moved"),
    "cumsum": Kind((2, 2), _cumsum_shape, _cumsum),
    "shape": Kind(
        (1, 1), _shape_shape, lambda call, *_: np.array(call.shape(0)), ANY, (0,), "", "raw"
    ),
    "rank": Kind(
        (1, 1),
        lambda _: [()],
        lambda call, *_: np.array(len(call.shape(0))),
        ANY,
        (0,),
        "",
        "raw",
    ),
}
