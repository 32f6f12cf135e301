# SPDX-License-Identifier: Apache-2.0
"""Steps of a graph over one arena of bytes, in NumPy: the twin of the native GraphProgram.

A tensor is contiguous and begins at a byte offset of the arena, a multiple of 64.  Each ``add_*``
takes offsets of inputs and output, keeps copies of constants, and refuses what lies outside the
arena, and an output that lies among inputs; that of an element-wise step may be its first input.
What places images and windows (``**geometry``) is what `Geometry` has.  Operands of `add_add` and
`add_mul` that never change lie in the arena too, where whoever plans it wrote them.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from functools import partial, partialmethod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from octavo._numpy import elements
from octavo._numpy.graph_steps import F32, S8, Pair, Tensor, constant, expect, extents
from octavo._numpy.graph_windows import WindowSteps, bounds, output_codes
from octavo._types import Array

Shape = Sequence[int]


class GraphProgram(WindowSteps):
    """Steps over an arena of at least so many bytes, run in the order in which they were added."""

    def add_add(
        self,
        *,
        a: int,
        b: int,
        out: int,
        shape: Shape,
        a_multiplier: float,
        b_multiplier: float,
        a_zero_point: int,
        b_zero_point: int,
        out_zero_point: int,
        b_shape: Shape | None = None,
        low: int = -128,
        high: int = 127,
    ) -> None:
        """Sum of int8 a, shape (images, positions, channels), and b, extents of which may be 1."""
        self._add(
            elements.add,
            *self._operands(a, b, out, shape, b_shape, S8),
            in_place=True,
            a_multiplier=a_multiplier,
            b_multiplier=b_multiplier,
            a_zero_point=a_zero_point,
            b_zero_point=b_zero_point,
            codes=output_codes(out_zero_point, low, high),
        )

    def add_mul(
        self,
        *,
        a: int,
        b: int,
        out: int,
        shape: Shape,
        multiplier: float,
        a_zero_point: int,
        b_zero_point: int,
        out_zero_point: int,
        b_shape: Shape | None = None,
        low: int = -128,
        high: int = 127,
    ) -> None:
        """Product of int8 operands."""
        self._add(
            elements.mul,
            *self._operands(a, b, out, shape, b_shape, S8),
            in_place=True,
            multiplier=multiplier,
            a_zero_point=a_zero_point,
            b_zero_point=b_zero_point,
            codes=output_codes(out_zero_point, low, high),
        )

    def _f32(
        self,
        function: Callable[..., Array],
        *,
        a: int,
        b: int,
        out: int,
        shape: Shape,
        b_shape: Shape | None = None,
        low: float = -math.inf,
        high: float = math.inf,
    ) -> None:
        """Sum or product of float32 operands."""
        operands = self._operands(a, b, out, shape, b_shape, F32)
        self._add(function, *operands, in_place=True, **bounds(low, high))

    add_add_f32 = partialmethod(_f32, elements.add_f32)
    add_mul_f32 = partialmethod(_f32, elements.mul_f32)

    def add_lookup(self, *, x: int, out: int, count: int, table: Array) -> None:
        """table[code + 128] of each of so many codes; table (256,) int8."""
        table = constant(table, S8, (256,), "table")
        places = self._at("out", out, (count,), S8), self._at("x", x, (count,), S8)
        self._add(elements.lookup, *places, in_place=True, table=table)

    def add_activation_f32(
        self,
        *,
        x: int,
        out: int,
        count: int,
        name: str = "none",
        low: float = -math.inf,
        high: float = math.inf,
    ) -> None:
        """Apply an activation by name, then the bounds: ReLU6 is "none" from 0 to 6.

        Beside those of layers there are "hard_swish" and "logistic".
        """
        places = self._at("out", out, (count,), F32), self._at("x", x, (count,), F32)
        self._add(elements.activate, *places, in_place=True, name=name, **bounds(low, high))

    def add_prelu(
        self,
        *,
        x: int,
        out: int,
        shape: Shape,
        alpha: Array,
        multiplier: float,
        negative_multiplier: float,
        zero_point: int,
        alpha_zero_point: int,
        out_zero_point: int,
        low: int = -128,
        high: int = 127,
    ) -> None:
        """Rows (rows, channels) of codes; below zero times alpha (channels,), of int8."""
        places = self._at("out", out, shape, S8), self._at("x", x, shape, S8)
        self._add(
            elements.prelu,
            *places,
            in_place=True,
            alpha=constant(alpha, S8, (shape[1],), "alpha"),
            multiplier=multiplier,
            negative_multiplier=negative_multiplier,
            zero_point=zero_point,
            alpha_zero_point=alpha_zero_point,
            codes=output_codes(out_zero_point, low, high),
        )

    def add_prelu_f32(self, *, x: int, out: int, shape: Shape, alpha: Array) -> None:
        """Rows (rows, channels), times alpha of the channel where they are negative."""
        places = self._at("out", out, shape, F32), self._at("x", x, shape, F32)
        alpha = constant(alpha, F32, (shape[1],), "alpha")
        self._add(elements.prelu_f32, *places, in_place=True, alpha=alpha)

    def _resize(
        self,
        dtype: np.dtype[Any],
        *,
        x: int,
        out: int,
        shape: Shape,
        size: Pair,
        method: str,
        align_corners: bool = False,
        half_pixel_centers: bool = False,
    ) -> None:
        """Images (batch, height, width, channels); method "nearest" or "bilinear"."""
        expect(method in ("nearest", "bilinear"), "method", "nearest or bilinear")
        batch, _, _, channels = extents(shape, 4, "shape")
        places = (
            self._at("out", out, (batch, *size, channels), dtype),
            self._at("x", x, shape, dtype),
        )
        self._add(
            elements.resize,
            *places,
            size=size,
            method=method,
            align_corners=align_corners,
            half_pixel_centers=half_pixel_centers,
        )

    add_resize = partialmethod(_resize, S8)
    add_resize_f32 = partialmethod(_resize, F32)

    def add_softmax(
        self,
        *,
        x: int,
        out: int,
        shape: Shape,
        scale: float,
        zero_point: int,
        out_scale: float,
        out_zero_point: int,
    ) -> None:
        """Softmax of rows (rows, n) of codes."""
        self._add(
            elements.softmax,
            self._at("out", out, shape, S8),
            self._at("x", x, shape, S8),
            scale=scale,
            zero_point=zero_point,
            out_scale=out_scale,
            out_zero_point=out_zero_point,
        )

    def add_softmax_f32(self, *, x: int, out: int, shape: Shape) -> None:
        """Softmax of rows (rows, n)."""
        self._add(
            elements.softmax_f32, self._at("out", out, shape, F32), self._at("x", x, shape, F32)
        )

    def add_quantize(self, *, x: int, out: int, count: int, scale: float, zero_point: int) -> None:
        """Codes of float32 values."""
        places = self._at("out", out, (count,), S8), self._at("x", x, (count,), F32)
        self._add(elements.quantize, *places, scale=scale, zero_point=zero_point)

    def add_dequantize(
        self, *, x: int, out: int, count: int, scale: float, zero_point: int
    ) -> None:
        """Float32 values of codes."""
        places = self._at("out", out, (count,), F32), self._at("x", x, (count,), S8)
        self._add(elements.dequantize, *places, scale=scale, zero_point=zero_point)

    def add_copy(
        self, *, x: int, out: int, shape: Shape, x_strides: Shape, out_strides: Shape
    ) -> None:
        """Bytes (.., bytes) from anywhere to anywhere, each axis but the last with its stride."""
        shape = extents(shape, len(x_strides) + 1, "shape")
        x_strides = extents(x_strides, len(x_strides), "x_strides", 0)
        out_strides = extents(out_strides, len(x_strides), "out_strides", 0)
        source = self._strided("x", x, shape, x_strides)
        target = self._strided("out", out, shape, out_strides)
        beyond = shape[-1]
        for extent, stride in zip(shape[-2::-1], out_strides[::-1], strict=True):
            expect(stride >= beyond, "out_strides", "places that each step writes once")
            beyond += (extent - 1) * stride
        apart = source.end <= target.at or target.end <= source.at
        expect(apart, "out", "memory that no input has")

        def step(arena: Array) -> None:
            parts = (source, x_strides), (target, out_strides)
            x, out = (as_strided(part.of(arena), shape, (*by, 1)) for part, by in parts)
            out[...] = x

        self._keep(step, {})

    def add_fill(self, *, out: int, count: int, value: Array) -> None:
        """So many times one value, which an array of any dtype has."""
        expect(value.size == 1, "value", "one element")
        self._add(partial(np.copy, value.reshape(1)), self._at("out", out, (count,), value.dtype))

    def _operands(
        self, a: int, b: int, out: int, shape: Shape, b_shape: Shape | None, dtype: np.dtype[Any]
    ) -> tuple[Tensor, Tensor, Tensor]:
        b_shape = extents(shape if b_shape is None else b_shape, 3, "b_shape")
        fits = all(one in (1, other) for one, other in zip(b_shape, shape, strict=True))
        expect(fits and b_shape[2] == shape[2], "b_shape", "the shape, or 1 for images, positions")
        places = ("out", out, shape), ("a", a, shape), ("b", b, b_shape)
        result, first, second = (self._at(*place, dtype) for place in places)
        return result, first, second

    def _strided(self, name: str, offset: int, shape: Shape, strides: Shape) -> Tensor:
        *outer, size = shape
        steps = zip(outer, strides, strict=True)
        size += sum((extent - 1) * stride for extent, stride in steps)
        tensor = Tensor(operator.index(offset), (size,), np.dtype(np.uint8))
        expect(offset >= 0 and tensor.end <= self._arena_bytes, name, "bytes inside the arena")
        return tensor
