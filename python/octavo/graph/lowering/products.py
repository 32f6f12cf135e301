# SPDX-License-Identifier: Apache-2.0
"""Convolutions, products and pools as steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from octavo._types import Array
from octavo.graph.evaluate import WEIGHTED, holds_codes, quantization_of
from octavo.graph.graph import Tensor
from octavo.graph.kinds import Shape
from octavo.graph.kinds.reductions import axes_of
from octavo.graph.kinds.windows import Window, conv_windows, pool_windows, windows
from octavo.graph.lowering.elements import ratio, ratios
from octavo.graph.steps import F32, S8, Op, Part, Steps, alike, scale_of, zero_of


def _geometry(shape: Shape, down: Window, across: Window) -> dict[str, Any]:
    return {
        "shape": shape,
        "size": (down.outputs, across.outputs),
        "stride": (down.stride, across.stride),
        "dilation": (down.dilation, across.dilation),
        "padding": (down.before, across.before),
    }


def _conv(steps: Steps, op: Op) -> bool:
    x, weight = op.x().shape, op.x(1).shape
    geometry = _geometry(x, *conv_windows(op.call))
    return _product(steps, op, geometry, lambda w: w, x[3] // weight[3])


def _depthwise(steps: Steps, op: Op) -> bool:
    geometry = _geometry(op.x().shape, *conv_windows(op.call))
    return _product(steps, op, geometry, lambda w: w[0], None)


def _transpose_conv(steps: Steps, op: Op) -> bool:
    """Write down a convolution of the image with room between its pixels."""
    x, weight = op.x(2), op.x(1)
    n, h, w, c = x.shape
    sides = windows(op.call, op.out.shape, *weight.shape[1:3])
    (down, across), size = sides, x.dtype.itemsize
    apart = ((h - 1) * down.stride + 1, (w - 1) * across.stride + 1)
    geometry = {
        "shape": (n, *apart, c),
        "size": op.out.shape[1:3],
        "dilation": (down.dilation, across.dilation),
        "padding": tuple((one.size - 1) * one.dilation - one.before for one in sides),
    }
    source = steps.at(op.operator.inputs[2])
    if apart != (h, w) and op.data(1) is not None:
        high, wide = apart
        spread, pixel = steps.room(n * high * wide * c * size), c * size
        steps.add("add_fill", out=spread, count=n * high * wide * c, value=zero_of(x))
        strides = (high * wide * pixel, down.stride * wide * pixel, across.stride * pixel)
        steps.copy(source, spread, (n, h, w), (h * w * pixel, w * pixel, pixel), strides, pixel)
        source = spread
    return _product(steps, op, geometry, lambda w: w[:, ::-1, ::-1], 1, source)


def _dense(steps: Steps, op: Op) -> bool:
    return _rows(steps, op, transposed=False)


def _matmul(steps: Steps, op: Op) -> bool:
    weight, transposed = op.x(1), not op.call.flag("adj_y")
    if len(weight.shape) != 2 or op.call.flag("adj_x"):
        return False
    # Scales along the first axis are those of outputs, unless that is the axis of inputs.
    by_input = transposed and holds_codes(weight) and quantization_of(weight).scale.size > 1
    return not by_input and _rows(steps, op, transposed=transposed)


def _rows(steps: Steps, op: Op, *, transposed: bool) -> bool:
    """Write down a product of rows with weights (n, k): a convolution of images of one pixel."""
    k = op.x(1).shape[0 if transposed else 1]
    geometry = {"shape": (math.prod(op.x().shape) // k, 1, 1, k), "size": (1, 1)}
    return _product(steps, op, geometry, lambda w: (w.T if transposed else w)[:, None, None], 1)


def _product(
    steps: Steps,
    op: Op,
    geometry: dict[str, Any],
    form: Callable[[Array], Array],
    groups: int | None,
    source: Part | None = None,
) -> bool:
    """Write a convolution down, by channels if there are no groups.

    `form` gives weights the shape that the step takes, and `source` has the values if it is not
    the tensor itself.
    """
    values, last = WEIGHTED[op.operator.kind]
    weight, bounds = op.x(1), op.bounds()
    given = last < len(op.inputs) and op.inputs[last] is not None
    bias = op.data(last) if given else None
    if weight.data is None or bounds is None or (given and bias is None):
        return False
    arguments = {
        **geometry,
        **bounds,
        "x": steps.at(op.operator.inputs[values]) if source is None else source,
        "out": steps.at(op.operator.outputs[0]),
        "bias": None if bias is None else bias.reshape(-1),
    }
    if op.has(F32, values):
        _float_product(steps, weight, arguments, form, groups)
        return True
    small = bias is None or (np.abs(bias, dtype=np.float64) < 2**31).all()
    if not op.has(S8, values) or weight.dtype != S8 or not small:
        return False
    _code_product(steps, op, arguments, form, groups)
    return True


def _float_product(
    steps: Steps,
    weight: Tensor,
    arguments: dict[str, Any],
    form: Callable[[Array], Array],
    groups: int | None,
) -> None:
    assert weight.data is not None
    name, data = "_f32", weight.data
    if holds_codes(weight):
        quantization = quantization_of(weight)
        if data.dtype == S8 and groups is not None and not quantization.zero_point.any():
            name = "_dynamic"
            arguments["scale"] = np.broadcast_to(quantization.scale, len(form(data)))
        else:
            data = quantization.dequantized(data)
    if groups is None:
        steps.add("add_depthwise_f32", weight=form(data), **arguments)
    else:
        steps.add(f"add_conv{name}", weight=form(data), groups=groups, **arguments)


def _code_product(
    steps: Steps,
    op: Op,
    arguments: dict[str, Any],
    form: Callable[[Array], Array],
    groups: int | None,
) -> None:
    values, _ = WEIGHTED[op.operator.kind]
    x, weight = op.x(values), op.x(1)
    scale, zero_point = scale_of(x)
    out_scale, out_zero_point = scale_of(op.out)
    multiplier = ratios(out_scale, scale, quantization_of(weight).scale)
    arguments |= {
        "multiplier": np.broadcast_to(multiplier, op.out.shape[-1:]),
        "zero_point": zero_point,
        "out_zero_point": out_zero_point,
    }
    if arguments["bias"] is not None:
        arguments["bias"] = arguments["bias"].astype(np.int32)
    parts = [form(part) for part in _parts(weight)]
    if len(parts) == 1 and groups is None:
        steps.add("add_depthwise", weight=parts[0], **arguments)
        return
    if groups is None:  # weights (kh, kw, n) as (n, kh, kw, 1)
        groups = arguments["shape"][3]
        parts = [part.transpose(2, 0, 1)[..., None] for part in parts]
    if len(parts) > 1:
        _repeat_inputs(steps, arguments, len(parts), groups)
    steps.add("add_conv", weight=np.concatenate(parts, 3), groups=groups, **arguments)


def _parts(weight: Tensor) -> list[Array]:
    """Return int8 weights that add up to codes less their zero points: one if those are 0."""
    assert weight.data is not None
    if not quantization_of(weight).zero_point.any():
        return [weight.data]
    rest = quantization_of(weight).centred(weight.data)
    parts: list[Array] = []
    while rest.any() or not parts:
        parts.append(rest.clip(-128, 127).astype(np.int8))
        rest = rest - parts[-1]
    return parts


def _repeat_inputs(steps: Steps, arguments: dict[str, Any], times: int, groups: int) -> None:
    """Let a convolution read the inputs of each group so many times, beside each other."""
    *image, channels = arguments["shape"]
    pixels, share = math.prod(image), channels // groups
    repeated = steps.room(pixels * channels * times)
    steps.copy(
        arguments["x"],
        repeated,
        (pixels, groups, times, share),
        (channels, share, 0, 1),
        (channels * times, share * times, share, 1),
        1,
    )
    arguments |= {"x": repeated, "shape": (*image, channels * times)}


def _average(steps: Steps, op: Op) -> bool:
    geometry = _geometry(op.x().shape, *(sides := pool_windows(op.call)))
    return _averaged(steps, op, geometry, (sides[0].size, sides[1].size))


def _mean(steps: Steps, op: Op) -> bool:
    """Write down the mean over neighbouring axes: of images as high as those, one pixel wide."""
    axes, shape = axes_of(op.call), op.x().shape
    if not axes or axes[-1] - axes[0] >= len(axes):
        return False
    before, after = shape[: axes[0]], shape[axes[-1] + 1 :]
    middle = math.prod(shape[axes[0] : axes[-1] + 1])
    images = (math.prod(before), middle, 1, math.prod(after))
    if images[3] == 1 and op.has(F32, 0) and op.bounds() == {"low": -np.inf, "high": np.inf}:
        return _mean_of_rows(steps, op, images[0], middle)
    return _averaged(steps, op, {"shape": images, "size": (1, 1)}, (middle, 1))


def _mean_of_rows(steps: Steps, op: Op, rows: int, k: int) -> bool:
    """Write a product with ones down, since pools go through channels and rows have one."""
    ends = steps.ends(op)
    sums, ones = steps.room(4 * rows), np.ones((1, 1, 1, k), np.float32)
    shape = (rows, 1, 1, k)
    steps.add("add_conv_f32", x=ends["x"], out=sums, weight=ones, shape=shape, size=(1, 1))
    factor = steps.constant(np.full(rows, 1 / k, np.float32))
    steps.add("add_mul_f32", a=sums, b=factor, out=ends["out"], shape=(1, 1, rows), in_place=True)
    return True


def _averaged(steps: Steps, op: Op, geometry: dict[str, Any], kernel: tuple[int, int]) -> bool:
    bounds = op.bounds()
    if bounds is None:
        return False
    arguments = {**geometry, **bounds, "kernel": kernel, **steps.ends(op)}
    if op.has(F32, 0):
        steps.add("add_average_pool_f32", **arguments)
        return True
    if op.has(S8, 0):
        codes = op.scales()
        ratio(codes["out_scale"], codes["scale"])  # refuses what overflows
        steps.add("add_average_pool", **arguments, **codes)
        return True
    return False


def _largest(steps: Steps, op: Op) -> bool:
    bounds = op.bounds()
    name = {F32: "add_max_pool_f32", S8: "add_max_pool"}.get(op.out.dtype)
    if bounds is None or name is None or not alike(op.x(), op.out):
        return False
    down, across = pool_windows(op.call)
    geometry = _geometry(op.x().shape, down, across)
    steps.add(name, **geometry, **bounds, kernel=(down.size, across.size), **steps.ends(op))
    return True


LOWERINGS = {
    "conv_2d": _conv,
    "depthwise_conv_2d": _depthwise,
    "transpose_conv": _transpose_conv,
    "fully_connected": _dense,
    "batch_matmul": _matmul,
    "average_pool_2d": _average,
    "mean": _mean,
    "max_pool_2d": _largest,
}
