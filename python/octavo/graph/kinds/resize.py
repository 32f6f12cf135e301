# SPDX-License-Identifier: Apache-2.0
"""Images made larger or smaller."""

from __future__ import annotations

from collections.abc import Callable

from octavo._numpy import elements
from octavo._types import Array
from octavo.graph.kinds.call import FLOATS, Call, Kind, Shape


def _resized(call: Call) -> list[Shape]:
    n, h, w, c = call.shape(0, 4)
    size = call.known(1)
    call.need(len(size) == 2 and min(size) > 0 and min(h, w) > 0, "a height and a width", size)
    corners = call.flag("align_corners") and call.flag("half_pixel_centers")
    call.need(not corners, "align_corners or half_pixel_centers", "both")
    return [(n, size[0], size[1], c)]


def _resize(method: str) -> Callable[..., Array]:
    def run(call: Call, x: Array, *_: Array) -> Array:
        height, width = call.known(1)
        options = {name: call.flag(name) for name in ("align_corners", "half_pixel_centers")}
        return elements.resize(x, size=(height, width), method=method, **options)

    return run


KINDS = {
    "resize_bilinear": Kind((2, 2), _resized, _resize("bilinear"), FLOATS),
    "resize_nearest_neighbor": Kind((2, 2), _resized, _resize("nearest"), FLOATS, codes="moved"),
}
