# SPDX-License-Identifier: Apache-2.0
"""Steps of a graph that read windows of images; ``**geometry`` is what `Geometry` has."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from octavo._numpy import images
from octavo._numpy.elements import Codes
from octavo._numpy.graph_steps import (
    F32,
    S8,
    Geometry,
    GraphSteps,
    Pair,
    constant,
    expect,
)
from octavo._types import Array

_S32 = np.dtype(np.int32)
_MOST_INPUTS = 65_793
"""Products of codes in a sum: 255 * 128 of them times as many stay below 2**31."""


def output_codes(zero_point: int, low: int, high: int) -> Codes:
    expect(-128 <= zero_point <= 127, "out_zero_point", "a code of int8")
    expect(-128 <= low <= high <= 127, "high", "a code of int8, at least low")
    return Codes(zero_point, low, high)


def bounds(low: float, high: float) -> dict[str, Any]:
    expect(low <= high, "high", "at least low")
    return {"low": low, "high": high}


def _weight(weight: Array, dtype: np.dtype[Any], channels: int, groups: int) -> dict[str, Any]:
    n, kh, kw, share = weight.shape
    fits = groups >= 1 and share * groups == channels and n % groups == 0
    expect(fits, "groups", "a number that divides outputs, and inputs into those of the weight")
    expect(dtype == F32 or kh * kw * share <= _MOST_INPUTS, "weight", "fewer inputs of an output")
    return {"weight": constant(weight, dtype, weight.shape, "weight"), "groups": groups}


def _depthwise(weight: Array, dtype: np.dtype[Any], channels: int) -> Array:
    expect(weight.shape[2] % channels == 0, "weight", "outputs for each channel")
    return constant(weight, dtype, weight.shape, "weight")


def _per_output(bias: Array | None, dtype: np.dtype[Any], n: int) -> Array | None:
    return None if bias is None else constant(bias, dtype, (n,), "bias")


def _or_zeros(bias: Array | None, dtype: np.dtype[Any], n: int) -> Array:
    given = _per_output(bias, dtype, n)
    return np.zeros(n, dtype) if given is None else given


def _sums(bias: Array | None, multiplier: Array, n: int) -> dict[str, Any]:
    """Return what is added to int32 sums, and what they are multiplied by."""
    expect(bool(np.isfinite(multiplier).all()), "multiplier", "finite numbers")
    return {
        "bias": _or_zeros(bias, _S32, n),
        "multiplier": constant(multiplier, F32, (n,), "multiplier"),
    }


class WindowSteps(GraphSteps):
    """Convolutions and pools."""

    def add_conv(
        self,
        *,
        weight: Array,
        multiplier: Array,
        zero_point: int,
        out_zero_point: int,
        bias: Array | None = None,
        low: int = -128,
        high: int = 127,
        groups: int = 1,
        **geometry: Any,
    ) -> None:
        """Int8 convolution; weight (n, kh, kw, c / groups), bias int32 and multiplier (n,)."""
        place, (n, kh, kw, _) = Geometry(**geometry), weight.shape
        self._windowed(
            images.conv,
            place,
            (kh, kw),
            n,
            S8,
            **_weight(weight, S8, place.shape[3], groups),
            **_sums(bias, multiplier, n),
            zero_point=zero_point,
            codes=output_codes(out_zero_point, low, high),
        )

    def add_conv_dynamic(
        self,
        *,
        weight: Array,
        scale: Array,
        bias: Array | None = None,
        low: float = -math.inf,
        high: float = math.inf,
        groups: int = 1,
        **geometry: Any,
    ) -> None:
        """Float32 convolution with int8 weights, of images quantized on the way; scale (n,)."""
        place, (n, kh, kw, _) = Geometry(**geometry), weight.shape
        self._windowed(
            images.conv_dynamic,
            place,
            (kh, kw),
            n,
            F32,
            **_weight(weight, S8, place.shape[3], groups),
            scale=constant(scale, F32, (n,), "scale"),
            bias=_per_output(bias, F32, n),
            **bounds(low, high),
        )

    def add_conv_f32(
        self,
        *,
        weight: Array,
        bias: Array | None = None,
        low: float = -math.inf,
        high: float = math.inf,
        groups: int = 1,
        **geometry: Any,
    ) -> None:
        """Float32 convolution; weight (n, kh, kw, c / groups)."""
        place, (n, kh, kw, _) = Geometry(**geometry), weight.shape
        self._windowed(
            images.conv_f32,
            place,
            (kh, kw),
            n,
            F32,
            **_weight(weight, F32, place.shape[3], groups),
            bias=_per_output(bias, F32, n),
            **bounds(low, high),
        )

    def add_depthwise(
        self,
        *,
        weight: Array,
        multiplier: Array,
        zero_point: int,
        out_zero_point: int,
        bias: Array | None = None,
        low: int = -128,
        high: int = 127,
        **geometry: Any,
    ) -> None:
        """Int8 convolution by channels; weight (kh, kw, c * m), output c * m + i reads c."""
        place, (kh, kw, n) = Geometry(**geometry), weight.shape
        self._windowed(
            images.depthwise,
            place,
            (kh, kw),
            n,
            S8,
            weight=_depthwise(weight, S8, place.shape[3]),
            **_sums(bias, multiplier, n),
            zero_point=zero_point,
            codes=output_codes(out_zero_point, low, high),
        )

    def add_depthwise_f32(
        self,
        *,
        weight: Array,
        bias: Array | None = None,
        low: float = -math.inf,
        high: float = math.inf,
        **geometry: Any,
    ) -> None:
        """Float32 convolution by channels; weight (kh, kw, c * m)."""
        place, (kh, kw, n) = Geometry(**geometry), weight.shape
        self._windowed(
            images.depthwise_f32,
            place,
            (kh, kw),
            n,
            F32,
            weight=_depthwise(weight, F32, place.shape[3]),
            bias=_or_zeros(bias, F32, n),
            **bounds(low, high),
        )

    def add_average_pool(
        self,
        *,
        kernel: Pair,
        scale: float,
        out_scale: float,
        zero_point: int,
        out_zero_point: int,
        low: int = -128,
        high: int = 127,
        **geometry: Any,
    ) -> None:
        """Mean of the int8 inputs of a window that lie inside; a kernel of all is the mean."""
        self._pool(
            images.average_pool,
            kernel,
            S8,
            geometry,
            scale=scale,
            out_scale=out_scale,
            zero_point=zero_point,
            codes=output_codes(out_zero_point, low, high),
        )

    def add_average_pool_f32(
        self,
        *,
        kernel: Pair,
        low: float = -math.inf,
        high: float = math.inf,
        **geometry: Any,
    ) -> None:
        """Mean of the float32 inputs of a window that lie inside."""
        self._pool(images.average_pool_f32, kernel, F32, geometry, **bounds(low, high))

    def add_max_pool(
        self, *, kernel: Pair, low: int = -128, high: int = 127, **geometry: Any
    ) -> None:
        """Greatest int8 input of a window that lies inside."""
        self._pool(images.max_pool, kernel, S8, geometry, **bounds(low, high))

    def add_max_pool_f32(
        self,
        *,
        kernel: Pair,
        low: float = -math.inf,
        high: float = math.inf,
        **geometry: Any,
    ) -> None:
        """Greatest float32 input of a window that lies inside."""
        self._pool(images.max_pool, kernel, F32, geometry, **bounds(low, high))

    def _pool(
        self,
        function: Callable[..., Array],
        kernel: Pair,
        dtype: np.dtype[Any],
        geometry: dict[str, Any],
        **arguments: Any,
    ) -> None:
        place = Geometry(**geometry)
        window = place.window(kernel)
        expect(window.dilation == (1, 1), "dilation", "(1, 1)")
        last = (window.size[i] * window.stride[i] - window.stride[i] for i in (0, 1))
        for i, begin in enumerate(last):
            inside = window.padding[i] < window.kernel[i]
            inside = inside and begin < place.shape[1 + i] + window.padding[i]
            expect(inside, "padding, size", "windows that have inputs")
        self._windowed(function, place, kernel, place.shape[3], dtype, **arguments)
