# SPDX-License-Identifier: Apache-2.0
"""Convolutions: of int8 codes, with float32 in and out, or in float32 throughout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from octavo import _checks
from octavo._ops.quantize import quantize_linear
from octavo._scales import sum_multiplier
from octavo._types import Array
from octavo.nn import _state, images
from octavo.nn._convolution import Convolution
from octavo.nn.images import Operand, Steps
from octavo.nn.options import static_parameters
from octavo.nn.weights.codes import quantized_weight, scale_of_rows
from octavo.qtensor import QTensor

F = TypeVar("F", bound="FloatConv2d")
C = TypeVar("C", bound="Conv2d")


class FloatConv2d(Convolution):
    """A convolution of images in float32, as `torch.nn.Conv2d` but for the order of axes.

    Parameters
    ----------
    weight : float32 array, shape (out_channels, kernel_height, kernel_width, in_channels / groups)
    bias : float32 array, shape (out_channels,), optional
    **options
        stride, dilation : an int, or two for height and width.  padding : zeros beside the image,
        an int or two, "valid" for none, or "same" for as many as give one output for each step of
        `stride`, the odd one below and to the right, as TensorFlow has it.  groups : int.
        activation : "none", "relu" or "relu6".

    Examples
    --------
    >>> import numpy as np, octavo
    >>> layer = octavo.nn.FloatConv2d(np.ones((1, 2, 2, 1), np.float32), stride=2)
    >>> layer
    FloatConv2d(1, 1, kernel_size=(2, 2), stride=(2, 2))
    >>> layer(np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)).reshape(2, 2)
    array([[10., 18.],
           [42., 50.]], dtype=float32)
    """

    kind = "float32"

    def __init__(self, weight: ArrayLike, bias: ArrayLike | None = None, **options: Any) -> None:
        values = _checks.as_float32(weight, "weight", float64=True)
        super().__init__(np.ascontiguousarray(values), bias, **options)

    @classmethod
    def from_float(cls: type[F], weight: Any, bias: ArrayLike | None = None, **options: Any) -> F:
        """Make a layer of a float weight, as the class does."""
        return cls(weight, bias, **options)

    @classmethod
    def from_state_dict(cls: type[F], state: Mapping[str, Any], **config: Any) -> F:
        """Rebuild a layer from `state_dict()` and `config()`."""
        _state.check_keys(state, ("weight",), ("bias",))
        return cls(state["weight"], state.get("bias"), **config)

    def _steps(self, *operands: Operand) -> Steps:
        x = operands[0]
        if x.scale is not None:
            raise TypeError("x: expected float32, got a QTensor")
        name = "depthwise_f32" if self.depthwise else "conv_f32"
        bounds = images.float_bounds(self.activation)
        return self._convolution(name, x, {"weight": self.weight, "bias": self.bias, **bounds})


class FloatDepthwiseConv2d(FloatConv2d):
    """A `FloatConv2d` with weights (kernel_height, kernel_width, out_channels) for each channel.

    Where there are `m` times as many outputs as inputs, outputs `c * m` to `c * m + m - 1` are made
    of channel c.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> layer = octavo.nn.FloatDepthwiseConv2d(np.ones((3, 3, 8), np.float32), stride=2)
    >>> layer(np.ones((1, 7, 7, 8), np.float32)).shape
    (1, 3, 3, 8)
    """

    depthwise = True


class Conv2d(Convolution):
    """A convolution of images with int8 weights that have a scale for each output.

    With an `output_scale` it takes int8 codes and gives int8 codes: a `QTensor` of NHWC, or float32
    that it quantizes by its `input_scale`.  Sums are exact int32, the bias one of them, and each is
    rounded once, half to even.  Without, it takes float32, quantizes each image from its own range,
    and gives float32.

    Parameters
    ----------
    codes : int8 array, shape (out_channels, kernel_height, kernel_width, in_channels / groups)
    scale : positive float array, shape (out_channels,), or one value
    bias : float32 array, shape (out_channels,), optional
    input_scale, input_zero_point, output_scale, output_zero_point : float, int, optional
    **options
        As of `FloatConv2d`.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> layer = octavo.nn.Conv2d.from_float(np.ones((1, 2, 2, 1), np.float32), stride=2)
    >>> layer(np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)).reshape(2, 2)
    array([[10., 18.],
           [42., 50.]], dtype=float32)
    >>> whole = octavo.nn.Conv2d.from_float(layer.dequantized(), stride=2, output_scale=1.0)
    >>> whole(octavo.qtensor.QTensor(np.full((1, 2, 2, 1), 3, np.int8), 0.5)).data.ravel()
    array([6], dtype=int8)
    """

    kind = "int8"

    def __init__(
        self,
        codes: ArrayLike,
        scale: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        input_scale: float | None = None,
        input_zero_point: int = 0,
        **options: Any,
    ) -> None:
        weight = np.ascontiguousarray(_checks.as_codes(codes, "codes", (_checks.INT8,)))
        super().__init__(weight, bias, **options)
        self.weight_scale = scale_of_rows(scale, self.out_channels)
        parameters = static_parameters("input", input_scale, input_zero_point)
        self.input_scale, self.input_zero_point = parameters
        if input_scale is not None and self.output_scale is None:
            raise ValueError("output_scale: expected one beside input_scale, got None")

    @classmethod
    def from_float(cls: type[C], weight: Any, bias: ArrayLike | None = None, **options: Any) -> C:
        """Quantize a finite float weight of the shape of `codes`, and make a layer of it."""
        values = _checks.as_float32(weight, "weight", float64=True)
        _checks.check_shape(values, (None,) * (3 if cls.depthwise else 4), "weight")
        rows = np.moveaxis(values, -1, 0) if cls.depthwise else values
        codes, scale = quantized_weight(rows.reshape(len(rows), -1))
        codes = codes.reshape(rows.shape)
        return cls(np.moveaxis(codes, 0, -1) if cls.depthwise else codes, scale, bias, **options)

    @classmethod
    def from_state_dict(cls: type[C], state: Mapping[str, Any], **config: Any) -> C:
        """Rebuild a layer from `state_dict()` and `config()`."""
        _state.check_keys(state, ("weight", "weight_scale"), ("bias",))
        return cls(state["weight"], state["weight_scale"], state.get("bias"), **config)

    def state_dict(self) -> dict[str, Array]:
        """Return the parameters, not copied."""
        return {**super().state_dict(), "weight_scale": self.weight_scale}

    def config(self) -> dict[str, Any]:
        """Return the options that are no tensors and not the default, for `from_state_dict`."""
        config = super().config()
        for side in ("input", "output"):
            if getattr(self, f"{side}_scale") is not None:
                names = (f"{side}_scale", f"{side}_zero_point")
                config |= {name: getattr(self, name) for name in names}
        return config

    def dequantized(self) -> Array:
        """Return the weight that the codes stand for, float32."""
        axes = (1, 1, -1) if self.depthwise else (-1, 1, 1, 1)
        return self.weight.astype(np.float32) * self.weight_scale.reshape(axes)

    def __call__(self, x: ArrayLike | QTensor) -> Any:
        """Apply the layer to images (batch, height, width, channels), float32 or a QTensor."""
        given = images.operand(x, "x")
        if given.scale is None and self.input_scale is not None:
            zero_point = np.int8(self.input_zero_point)
            codes = quantize_linear(given.data, np.float32(self.input_scale), zero_point)
            given = Operand(codes, self.input_scale, self.input_zero_point)
        return self._run(given)

    def _steps(self, *operands: Operand) -> Steps:
        x = operands[0]
        if (x.scale is None) != (self.output_scale is None):
            wanted = "float32" if self.output_scale is None else "a QTensor, or an input_scale"
            raise TypeError(f"x: expected {wanted} for a layer of such scales")
        if x.scale is None:
            return self._dynamic(x)
        scale, zero_point = self._codes(x)
        bias = (0 if self.bias is None else self.bias) / (np.float64(x.scale) * self.weight_scale)
        parts = {
            "weight": self.weight,
            "bias": np.clip(np.rint(bias), -(2**31), 2**31 - 1).astype(np.int32),
            "multiplier": sum_multiplier(scale, x.scale, self.weight_scale),
            "zero_point": x.zero_point,
            "out_zero_point": zero_point,
            **images.code_bounds(self.activation, scale, zero_point),
        }
        name = "depthwise" if self.depthwise else "conv"
        return self._convolution(name, x, parts, (scale, zero_point))

    def _dynamic(self, x: Operand) -> Steps:
        name, parts = "conv_dynamic", {"weight": self.weight, "scale": self.weight_scale}
        if self.depthwise:
            name, parts = "depthwise_f32", {"weight": self.dequantized()}
        bounds = images.float_bounds(self.activation)
        return self._convolution(name, x, {**parts, "bias": self.bias, **bounds})


class DepthwiseConv2d(Conv2d):
    """A `Conv2d` with weights (kernel_height, kernel_width, out_channels) for each channel.

    Where there are `m` times as many outputs as inputs, outputs `c * m` to `c * m + m - 1` are made
    of channel c.  Between float32 images it computes in float32, with what its codes stand for:
    memory bounds it, and images are not quantized for a few products of each value.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> weight = np.ones((3, 3, 8), np.float32)
    >>> layer = octavo.nn.DepthwiseConv2d.from_float(weight, padding=1)
    >>> layer(np.ones((1, 6, 6, 8), np.float32)).shape
    (1, 6, 6, 8)
    """

    depthwise = True
