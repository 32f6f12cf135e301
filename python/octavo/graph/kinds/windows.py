# SPDX-License-Identifier: Apache-2.0
"""Products and what slides a window over images: convolutions, pooling."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from octavo._numpy import images
from octavo._text import shown
from octavo._types import Array
from octavo.graph.kinds.call import FLOATS, Call, Kind, Shape, count

_ALL = {"low": -np.inf, "high": np.inf}


class Window(NamedTuple):
    """How a window slides along one axis: outputs, its size and steps, padding at both ends."""

    outputs: int
    size: int
    stride: int
    dilation: int
    before: int
    after: int


def windows(call: Call, image: Shape, height: int, width: int) -> tuple[Window, Window]:
    """Return how a window of that size slides down and across an image (N, H, W, C)."""
    padding = call.options.get("padding", "valid")
    given = isinstance(padding, tuple) and len(padding) == 4
    call.need(given or padding in {"same", "valid"}, "padding same or valid", padding)
    both = []
    for axis, (side, size) in enumerate(zip("hw", (height, width), strict=True), start=1):
        stride = call.integer(f"stride_{side}", 1, 1)
        dilation = call.integer(f"dilation_{side}_factor", 1, 1)
        call.need(size > 0, "a window of at least 1", size)
        span = (size - 1) * dilation + 1
        before = after = 0
        if given:
            before, after = padding[2 * axis - 2 : 2 * axis]
        elif padding == "same":
            total = max((-(-image[axis] // stride) - 1) * stride + span - image[axis], 0)
            before, after = total // 2, total - total // 2
        room = image[axis] + before + after - span
        call.need(room >= 0, f"an image of at least {span} along axis {axis}", image)
        both.append(Window(room // stride + 1, size, stride, dilation, before, after))
    return both[0], both[1]


def conv_windows(call: Call) -> tuple[Window, Window]:
    """Return the windows of a convolution."""
    _, height, width, _ = call.shape(1, 4)
    return windows(call, call.shape(0, 4), height, width)


def pool_windows(call: Call) -> tuple[Window, Window]:
    """Return the windows of a pooling operator."""
    height, width = (call.integer(f"filter_{side}", 1, 1) for side in ("height", "width"))
    return windows(call, call.shape(0, 4), height, width)


def _bias(call: Call, outputs: int) -> None:
    if call.has(2):
        call.need(count(call.shape(2)) == outputs, f"{outputs} biases", call.shape(2))


def _conv_shape(call: Call) -> list[Shape]:
    image, weight = call.shape(0, 4), call.shape(1, 4)
    groups = image[3] // weight[3] if weight[3] else 0
    fits = groups > 0 and image[3] == groups * weight[3] and weight[0] % groups == 0
    call.need(fits, f"weights for {image[3]} channels", weight)
    _bias(call, weight[0])
    down, across = conv_windows(call)
    return [(image[0], down.outputs, across.outputs, weight[0])]


def _depthwise_shape(call: Call) -> list[Shape]:
    image, weight = call.shape(0, 4), call.shape(1, 4)
    fits = weight[0] == 1 and image[3] > 0 and weight[3] % image[3] == 0
    call.need(fits, f"weights (1, height, width, a multiple of {image[3]})", weight)
    _bias(call, weight[3])
    down, across = conv_windows(call)
    return [(image[0], down.outputs, across.outputs, weight[3])]


def _taps(sides: tuple[Window, Window]) -> images.Window:
    down, across = sides
    return images.Window(
        (down.outputs, across.outputs),
        (down.size, across.size),
        (down.stride, across.stride),
        (down.dilation, across.dilation),
        (down.before, across.before),
    )


def _conv(call: Call, x: Array, weight: Array, bias: Array | None = None) -> Array:
    groups = x.shape[3] // weight.shape[3]
    taps = _taps(conv_windows(call))
    return images.conv_f32(x, window=taps, weight=weight, bias=bias, groups=groups, **_ALL)


def _depthwise(call: Call, x: Array, weight: Array, bias: Array | None = None) -> Array:
    taps = _taps(conv_windows(call))
    added = np.zeros(weight.shape[3], np.float32) if bias is None else bias
    return images.depthwise_f32(x, window=taps, weight=weight[0], bias=added, **_ALL)


def _transpose_conv_shape(call: Call) -> list[Shape]:
    weight, image = call.shape(1, 4), call.shape(2, 4)
    call.need(weight[3] == image[3], f"weights for {image[3]} channels", weight)
    if call.has(3):
        call.need(count(call.shape(3)) == weight[0], f"{weight[0]} biases", call.shape(3))
    wanted = tuple(call.known(0))
    call.need(len(wanted) == 4 and min(wanted) >= 0, "a shape of four sizes", wanted)
    fits = wanted[0] == image[0] and wanted[3] == weight[0]
    call.need(fits, f"{image[0]} images of {weight[0]} channels", wanted)
    down, across = windows(call, wanted, weight[1], weight[2])
    call.need(
        (down.outputs, across.outputs) == image[1:3], "an image that such a result gives", image
    )
    return [wanted]


def _transpose_conv(
    call: Call, shape: Array, weight: Array, x: Array, bias: Array | None = None
) -> Array:
    down, across = windows(call, tuple(int(size) for size in shape), *weight.shape[1:3])
    rows, columns = (int(shape[axis]) for axis in (1, 2))
    high, wide = rows + down.before + down.after, columns + across.before + across.after
    result = np.zeros((x.shape[0], high, wide, weight.shape[0]), x.dtype)
    parts = np.einsum("nhwc,oklc->nhwklo", x, weight, optimize=True)
    for k in range(down.size):
        for j in range(across.size):
            result[
                :,
                k * down.dilation : k * down.dilation + x.shape[1] * down.stride : down.stride,
                j * across.dilation : j * across.dilation
                + x.shape[2] * across.stride : across.stride,
            ] += parts[:, :, :, k, j]
    result = result[:, down.before : down.before + rows, across.before : across.before + columns]
    return result if bias is None else result + bias


def _pool_shape(call: Call) -> list[Shape]:
    image = call.shape(0, 4)
    down, across = pool_windows(call)
    return [(image[0], down.outputs, across.outputs, image[3])]


def _average(call: Call, x: Array) -> Array:
    return images.average_pool_f32(x, window=_taps(pool_windows(call)), **_ALL)


def _largest(call: Call, x: Array) -> Array:
    return images.max_pool(x, window=_taps(pool_windows(call)), **_ALL)


def _dense_shape(call: Call) -> list[Shape]:
    rows, weight = call.shape(0), call.shape(1, 2)
    call.need(
        call.options.get("weights_format", "default") == "default",
        "weights in rows of inputs",
        call.options.get("weights_format"),
    )
    _bias(call, weight[0])
    if call.flag("keep_num_dims"):
        fits = len(rows) > 0 and rows[-1] == weight[1]
        call.need(fits, f"rows of {weight[1]} inputs", rows)
        return [(*rows[:-1], weight[0])]
    call.need(weight[1] > 0 and count(rows) % weight[1] == 0, f"rows of {weight[1]} inputs", rows)
    return [(count(rows) // weight[1], weight[0])]


def _dense(call: Call, x: Array, weight: Array, bias: Array | None = None) -> Array:
    sums = (x.reshape(-1, weight.shape[1]) @ weight.T).reshape(_dense_shape(call)[0])
    return sums if bias is None else sums + bias.reshape(-1)


def _product_shape(call: Call) -> list[Shape]:
    a, b = call.shape(0), call.shape(1)
    call.need(min(len(a), len(b)) >= 2, "two matrices or more", shown((a, b)))
    m, k = a[-2:][::-1] if call.flag("adj_x") else a[-2:]
    inner, n = b[-2:][::-1] if call.flag("adj_y") else b[-2:]
    call.need(k == inner, f"a second matrix with {k} rows", b)
    try:
        batches = np.broadcast_shapes(a[:-2], b[:-2])
    except ValueError:
        raise call.error(f"expected batches that broadcast, got {a} and {b}") from None
    return [(*batches, m, n)]


def _product(call: Call, a: Array, b: Array) -> Array:
    a = a.swapaxes(-1, -2) if call.flag("adj_x") else a
    b = b.swapaxes(-1, -2) if call.flag("adj_y") else b
    return np.matmul(a, b)


KINDS = {
    "conv_2d": Kind((2, 3), _conv_shape, _conv, FLOATS),
    "depthwise_conv_2d": Kind((2, 3), _depthwise_shape, _depthwise, FLOATS),
    "transpose_conv": Kind((3, 4), _transpose_conv_shape, _transpose_conv, FLOATS, (2,)),
    "fully_connected": Kind((2, 3), _dense_shape, _dense, FLOATS),
    "batch_matmul": Kind((2, 2), _product_shape, _product, (*FLOATS, "int32")),
    "average_pool_2d": Kind((1, 1), _pool_shape, _average, FLOATS),
    "max_pool_2d": Kind((1, 1), _pool_shape, _largest, FLOATS),
}
