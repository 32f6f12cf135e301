# SPDX-License-Identifier: Apache-2.0
"""The convolution of images as a torch module."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from octavo._types import Array
from octavo.nn.weights import Layout
from octavo.nn.weights.codes import quantized_weight
from octavo.torch import _conv_ops
from octavo.torch._module import Int8Module, require_float
from octavo.torch._pruned import weight_of
from octavo.torch.tensors import is_plain, require_tensor, to_array, to_numpy


class Conv2d(Int8Module):
    """A convolution with int8 weights, whose input is quantized image by image as it comes.

    Made by `quantize_`, or from a float layer by `from_float`. Images that lie as
    ``torch.channels_last`` says are read where they are, and results lie like them; others are
    copied, and so are their results. Gradients flow to `x`, through the dequantized weight; the
    weight itself does not train.

    State dicts hold ``weight`` (int8 codes), ``weight_scale`` (float32, one output channel each)
    and ``bias`` (float32).

    Examples
    --------
    >>> import torch, octavo.torch
    >>> layer = octavo.torch.Conv2d.from_float(torch.nn.Conv2d(16, 32, 3, padding=1))
    >>> layer(torch.randn(2, 16, 10, 10)).shape
    torch.Size([2, 32, 10, 10])
    >>> layer
    Conv2d(16, 32, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
    """

    codes: Tensor
    weight_scale: Tensor
    held_bias: Tensor | None
    kind = "int8"

    def __init__(
        self,
        codes: Tensor,
        scale: Tensor,
        bias: Tensor | None = None,
        *,
        windows: _conv_ops.Windows,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Hold codes (outputs, inputs / groups, height, width) and scales (outputs,)."""
        super().__init__()
        self.dtype, self.stride, self.padding, self.dilation, self.groups = dtype, *windows
        self._hold(codes, scale, bias)

    @classmethod
    def from_float(cls, module: torch.nn.Conv2d) -> Conv2d:
        """Quantize a float layer on the CPU, which is left as it is.

        Raises
        ------
        TypeError
            If `module` is not a `torch.nn.Conv2d`.
        ValueError
            If its numbers are on another device, without data, sparse, or not finite, and for
            padding other than as many zeros on both sides.
        """
        require_float(module, torch.nn.Conv2d)
        windows = _conv_ops.Windows.of(module)
        codes, scale = codes_of(weight_of(module))
        bias = None if module.bias is None else module.bias.detach().float().clone()
        return cls(codes, scale, bias, windows=windows, dtype=module.weight.dtype)

    def _hold(self, codes: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        self.out_channels, inputs, *size = codes.shape
        self.in_channels, self.kernel_size = inputs * self.groups, tuple(size)
        lying = codes.contiguous(memory_format=torch.channels_last)
        for name, tensor in (("codes", lying), ("weight_scale", scale), ("held_bias", bias)):
            self.register_buffer(name, tensor, persistent=False)

    @property
    def _windows(self) -> _conv_ops.Windows:
        return _conv_ops.Windows(self.stride, self.padding, self.dilation, self.groups)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer.

        Parameters
        ----------
        x : tensor, shape ([batch,] in_channels, height, width), float32, bfloat16 or float16

        Returns
        -------
        tensor, shape ([batch,] out_channels, ...), the dtype of `x`
        """
        tensors = self.codes, self.weight_scale, self.held_bias
        if not torch.compiler.is_compiling() and is_plain(x):
            return _conv_ops.convolve(x, *tensors, *self._windows)
        require_tensor(x, "x")
        return torch.ops.octavo.conv2d(x, *tensors, *self._windows)

    @property
    def bias(self) -> Tensor | None:
        """The bias in the dtype of the float module; `held_bias` is the float32 one that counts."""
        return None if self.held_bias is None else self.held_bias.to(self.dtype)

    def _weight_shape(self) -> tuple[int, ...]:
        return tuple(self.codes.shape)

    def _dequantized(self) -> Tensor:
        return _conv_ops.dequantized(self.codes, self.weight_scale).to(self.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales and bias."""
        bias = 0 if self.held_bias is None else self.held_bias.nbytes
        return self.codes.nbytes + self.weight_scale.nbytes + bias

    def _stored(self) -> dict[str, Array]:
        bias = {} if self.held_bias is None else {"bias": to_array(self.held_bias)}
        codes = np.ascontiguousarray(to_array(self.codes))
        return {"weight": codes, "weight_scale": to_array(self.weight_scale), **bias}

    def _layouts(self) -> tuple[list[Layout], Layout]:
        parts = self._stored()
        own: Layout = {name: (array.dtype, array.shape) for name, array in parts.items()}
        beside: Layout = {"bias": own.pop("bias")} if "bias" in own else {}
        return [own], beside

    def _replace(self, parts: dict[str, Tensor]) -> None:
        _conv_ops.layer_of(parts["weight"], parts["weight_scale"], None, *self._windows)
        self.codes.copy_(parts["weight"])
        self.weight_scale.copy_(parts["weight_scale"])
        if self.held_bias is not None:
            self.held_bias.copy_(parts["bias"])

    def extra_repr(self) -> str:
        """Describe the layer as `torch.nn.Conv2d` does."""
        names = ("kernel_size", "stride", "padding", "dilation", "groups")
        defaults = {"padding": (0, 0), "dilation": (1, 1), "groups": 1}
        parts = [str(self.in_channels), str(self.out_channels)]
        parts += [
            f"{name}={getattr(self, name)}"
            for name in names
            if getattr(self, name) != defaults.get(name)
        ]
        return ", ".join(parts if self.held_bias is not None else [*parts, "bias=False"])


def codes_of(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the int8 codes of a weight, in its shape, and the scale of each output channel."""
    array, scale = quantized_weight(to_numpy(weight.flatten(1)))
    codes = torch.from_numpy(array).reshape(weight.shape)
    # In the order in which windows are read, so that layers need no copy.
    return codes.contiguous(memory_format=torch.channels_last), torch.from_numpy(scale)
