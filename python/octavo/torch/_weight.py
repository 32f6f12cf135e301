# SPDX-License-Identifier: Apache-2.0
"""The weight of one linear layer, packed once, and the tensors that are its memory."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import torch

from octavo import nn
from octavo.torch._tensors import TensorCache, to_numpy

if TYPE_CHECKING:
    from collections.abc import Callable

# Where a packed weight lies -> the weight. An entry lives as long as its memory, so an address
# found here is never another's.
_BY_ADDRESS: weakref.WeakValueDictionary[int, PackedWeight] = weakref.WeakValueDictionary()


class Options(NamedTuple):
    """How a layer quantizes what it reads.

    Attributes
    ----------
    symmetric : bool
        Rows by their largest magnitude instead of their own range.
    input_scale, input_zero_point : float, int
        Fixed for all rows, instead of each row's own.
    """

    symmetric: bool = False
    input_scale: float | None = None
    input_zero_point: int = 0


class PackedWeight:
    """A packed weight, shared by all modules whose weights are tied.

    Attributes
    ----------
    layer : octavo.Linear
        What computes.
    options : Options
        How it quantizes what it reads.
    packed : int8 tensor, shape (panels, groups, width, group)
        The layer's own memory; element (p, g, i, j) is code (p * width + i, g * group + j).
    shape : tuple of int
        (out_features, in_features)
    scale : float32 tensor, shape (out_features,)
    bias : float32 tensor, shape (out_features,), or None
        Also the layer's memory: what is written to scale and bias counts in the next call.
    """

    packed: torch.Tensor
    scale: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, layer: nn.Linear) -> None:
        self.options = Options(*(layer._config[key] for key in Options._fields))
        self._view(layer)
        _BY_ADDRESS[self.packed.data_ptr()] = self

    def _view(self, layer: nn.Linear) -> None:
        self.layer = layer
        memory = layer._packed.memory()
        # Inference tensors could not take part in autograd later, and count no writes.
        with torch.inference_mode(False):
            self.packed, self.scale, self.bias = (
                None if part is None else torch.from_numpy(part) for part in memory
            )
        self._version = self.packed._version
        self.shape = layer.out_features, layer.in_features
        self.signature = (self.scale.data_ptr(), *self.shape, self.options)

    def codes(self) -> torch.Tensor:
        """Return the codes, (out_features, in_features) int8, as a fresh tensor."""
        return torch.from_numpy(self.layer.weight_codes)

    def current(self) -> nn.Linear:
        """Return the layer; it is packed anew if somebody wrote to the codes in place."""
        if self.scale.requires_grad or (self.bias is not None and self.bias.requires_grad):
            refuse_gradient()
        if self.packed._version != self._version:
            self.replace(plain_codes(self.packed, *self.shape), self.scale, self.bias)
        return self.layer

    def replace(
        self,
        codes: torch.Tensor,
        scale: torch.Tensor,
        bias: torch.Tensor | None,
        options: Options | None = None,
    ) -> None:
        """Take other numbers of the same shape; all modules that share this see them."""
        self.options = options or self.options
        packed, scales, biases = self.packed, self.scale, self.bias
        address = packed.data_ptr()
        self._view(_layer(codes, scale, bias, self.options))
        # The tensor objects stay: modules and compiled graphs hold them.
        packed.data, scales.data = self.packed, self.scale
        if biases is not None:
            biases.data = self.bias
        self.packed, self.scale, self.bias = packed, scales, biases
        self._version = packed._version
        _BY_ADDRESS.pop(address, None)
        _BY_ADDRESS[packed.data_ptr()] = self

    def __reduce__(self) -> tuple[Callable[..., PackedWeight], tuple[Any, ...]]:
        bias = None if self.bias is None else self.bias.clone()
        return _rebuild, (self.codes(), self.scale.clone(), bias, self.options)


def refuse_gradient() -> NoReturn:
    """Raise for floats of an int8 layer that somebody wants gradients for."""
    raise ValueError(
        "requires_grad: expected False for the scales and the bias of an int8 layer, got True:"
        " they do not train; train what stands before the layer, or beside it"
    )


def _rebuild(
    codes: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None, options: Options
) -> PackedWeight:
    return PackedWeight(_layer(codes, scale, bias, options))


def _layer(
    codes: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None, options: Options
) -> nn.Linear:
    biases = None if bias is None else to_numpy(bias)
    return nn.Linear.from_quantized(to_numpy(codes), to_numpy(scale), biases, **options._asdict())


def plain_codes(packed: torch.Tensor, out_features: int, in_features: int) -> torch.Tensor:
    """Return packed codes as (out_features, in_features) int8, by operators that trace."""
    panels, groups, width, group = packed.shape
    flat = packed.transpose(1, 2).reshape(panels * width, groups * group)
    return flat[:out_features, :in_features]


_COPIES: TensorCache[nn.Linear] = TensorCache()


def layer_of(
    packed: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor | None,
    in_features: int,
    options: Options,
) -> tuple[nn.Linear, bool]:
    """Return the layer whose memory the tensors are, and whether the bias is still to be added.

    Tensors that are copies (of an exported program, say) get a layer of their own, kept as long
    as they live.
    """
    weight = _BY_ADDRESS.get(packed.data_ptr())
    if (
        weight is not None
        and weight.signature == (scale.data_ptr(), scale.numel(), in_features, options)
        and packed.shape == weight.packed.shape
        and packed.is_contiguous()
    ):
        if weight.bias is None:
            return weight.current(), bias is not None
        if bias is not None and bias.data_ptr() == weight.bias.data_ptr():
            return weight.current(), False
    tensors = (packed, scale) if bias is None else (packed, scale, bias)

    def make() -> nn.Linear:
        codes = plain_codes(packed, scale.shape[0], in_features)
        return _layer(codes, scale, bias, options)

    return _COPIES.get(tensors, (in_features, options), make), False
