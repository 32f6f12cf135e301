# SPDX-License-Identifier: Apache-2.0
"""Images made larger or smaller."""

from __future__ import annotations

import numpy as np

from octavo._types import Array
from octavo.graph.kinds.call import FLOATS, Call, Kind, Shape


def _resized(call: Call) -> list[Shape]:
    n, h, w, c = call.shape(0, 4)
    size = call.known(1)
    call.need(len(size) == 2 and min(size) > 0 and min(h, w) > 0, "a height and a width", size)
    corners = call.flag("align_corners") and call.flag("half_pixel_centers")
    call.need(not corners, "align_corners or half_pixel_centers", "both")
    return [(n, size[0], size[1], c)]


def _positions(call: Call, inputs: int, outputs: int) -> Array:
    """Return where output pixels lie between those of the input, as float32."""
    corners = call.flag("align_corners") and outputs > 1
    scale = np.float32(inputs - 1) / np.float32(outputs - 1) if corners else None
    if scale is None:
        scale = np.float32(inputs) / np.float32(outputs)
    half = np.float32(0.5 if call.flag("half_pixel_centers") else 0)
    return (np.arange(outputs).astype(np.float32) + half) * scale


def _nearest(call: Call, x: Array, *_: Array) -> Array:
    places = []
    for axis, outputs in enumerate(call.known(1), start=1):
        where = _positions(call, x.shape[axis], outputs)
        where = np.floor(where + np.float32(0.5)) if call.flag("align_corners") else np.floor(where)
        places.append(np.minimum(where.astype(np.int64), x.shape[axis] - 1))
    return x[:, places[0]][:, :, places[1]]


def _bilinear(call: Call, x: Array, *_: Array) -> Array:
    result = x
    for axis, outputs in enumerate(call.known(1), start=1):
        where = _positions(call, x.shape[axis], outputs)
        if call.flag("half_pixel_centers"):
            where = where - np.float32(0.5)
        low = np.floor(where)
        part = (where - low).reshape(-1, *[1] * (3 - axis))
        first, second = (
            np.take(result, np.clip(low + step, 0, x.shape[axis] - 1).astype(np.int64), axis)
            for step in (0, 1)
        )
        result = first * (1 - part) + second * part
    return result


KINDS = {
    "resize_bilinear": Kind((2, 2), _resized, _bilinear, FLOATS),
    "resize_nearest_neighbor": Kind((2, 2), _resized, _nearest, FLOATS, codes="moved"),
}
