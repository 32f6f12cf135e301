# SPDX-License-Identifier: Apache-2.0
"""The weight of one linear layer, packed once, and the tensors that are its memory."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import torch

from octavo import nn
from octavo.torch._tensors import Array, TensorCache, to_numpy

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


class LayerWeight:
    """What computes a layer, shared by all modules whose weights are tied.

    Attributes
    ----------
    layer : octavo.Linear
        What computes.
    options : Options
        How it quantizes what it reads.
    shape : tuple of int
        (out_features, in_features)
    scale : float32 tensor, shape (out_features,)
    bias : float32 tensor, shape (out_features,), or None
        Both are the layer's memory: what is written to scale and bias counts in the next call.
    """

    scale: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, layer: nn.Linear) -> None:
        self.options = Options(*(getattr(layer.options, key) for key in Options._fields))
        self._view(layer)

    def _view(self, layer: nn.Linear) -> None:
        self.layer = layer
        bound: Any = layer._bound
        codes, scale, bias = bound.memory()
        self._show("scale", scale)
        self._show("bias", bias)
        self.shape = layer.out_features, layer.in_features
        self.signature = (self.scale.data_ptr(), *self.shape, self.options)
        self._view_codes(codes)

    def _view_codes(self, codes: Array | None) -> None:
        """Take the memory of the layer's codes, None if they are not dense."""
        raise NotImplementedError

    def _show(self, name: str, array: Array | None) -> None:
        """Let the attribute `name` be a tensor over an array."""
        # Inference tensors could not take part in autograd later, and count no writes. What traces
        # operators sees torch.from_numpy and makes something else of its result; not so DLPack.
        with torch.inference_mode(False):
            fresh = None if array is None else torch.from_dlpack(array)
        held = getattr(self, name, None)
        if held is None:
            setattr(self, name, fresh)
        else:
            # The tensor object stays: modules and compiled graphs hold it.
            held.data = fresh

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return what a module holds as buffers, beside the bias."""
        return {"weight_scale": self.scale}

    @property
    def nbytes(self) -> int:
        """Bytes of the codes, the scales and the bias."""
        return self.layer.nbytes

    def codes(self) -> torch.Tensor:
        """Return the codes, (out_features, in_features) int8, as a fresh tensor."""
        return torch.from_numpy(self.layer.weight_codes)

    def current(self) -> nn.Linear:
        """Return the layer; refuses floats that somebody wants gradients for."""
        if self.scale.requires_grad or (self.bias is not None and self.bias.requires_grad):
            refuse_gradient()
        return self.layer

    def serving(
        self,
        scale: torch.Tensor,
        bias: torch.Tensor | None,
        in_features: int,
        options: Options,
    ) -> tuple[nn.Linear, bool] | None:
        """Return the layer, and whether the bias is still to be added; None for other tensors."""
        if self.signature != (scale.data_ptr(), scale.numel(), in_features, options):
            return None
        if self.bias is None:
            return self.current(), bias is not None
        if bias is None or bias.data_ptr() != self.bias.data_ptr():
            return None
        return self.current(), False

    def replace(
        self,
        codes: torch.Tensor,
        scale: torch.Tensor,
        bias: torch.Tensor | None,
        options: Options | None = None,
    ) -> None:
        """Take other numbers of the same shape; all modules that share this see them."""
        wanted = options or self.options
        layer = self._layer(codes, scale, bias, wanted)
        self.options = wanted
        self._view(layer)

    def _layer(
        self,
        codes: torch.Tensor,
        scale: torch.Tensor,
        bias: torch.Tensor | None,
        options: Options,
    ) -> nn.Linear:
        return layer_from(codes, scale, bias, options)


class PackedWeight(LayerWeight):
    """A dense weight.

    Attributes
    ----------
    packed : int8 tensor, shape (panels, groups, width, group)
        The layer's own memory; element (p, g, i, j) is code (p * width + i, g * group + j).
    """

    packed: torch.Tensor

    def _view_codes(self, codes: Array | None) -> None:
        held = getattr(self, "packed", None)
        if held is not None:
            _BY_ADDRESS.pop(held.data_ptr(), None)
        self._show("packed", codes)
        self._version = self.packed._version
        _BY_ADDRESS[self.packed.data_ptr()] = self

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return what a module holds as buffers, beside the bias."""
        return {"packed": self.packed, **super().tensors()}

    def current(self) -> nn.Linear:
        """Return the layer; it is packed anew if somebody wrote to the codes in place."""
        super().current()
        if self.packed._version != self._version:
            self.replace(plain_codes(self.packed, *self.shape), self.scale, self.bias)
        return self.layer

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
    return PackedWeight(layer_from(codes, scale, bias, options))


def layer_from(
    codes: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor | None,
    options: Options,
    **form: Any,
) -> nn.Linear:
    """Make what computes; `form` is what its weight takes: format, rows."""
    biases = None if bias is None else to_numpy(bias)
    return nn.Linear.from_quantized(
        to_numpy(codes), to_numpy(scale), biases, **options._asdict(), **form
    )


def plain_codes(packed: torch.Tensor, out_features: int, in_features: int) -> torch.Tensor:
    """Return packed codes as (out_features, in_features) int8, by operators that trace."""
    panels, groups, width, group = packed.shape
    flat = packed.transpose(1, 2).reshape(panels * width, groups * group)
    return flat[:out_features, :in_features]


def dequantized(packed: torch.Tensor, scale: torch.Tensor, in_features: int) -> torch.Tensor:
    """Return packed codes as a float32 weight; what lies in a layer's memory is unpacked by it."""
    weight = _BY_ADDRESS.get(packed.data_ptr())
    if weight is None or weight.packed.shape != packed.shape or not packed.is_contiguous():
        codes = plain_codes(packed, scale.shape[0], in_features)
    else:
        codes = torch.from_numpy(weight.current().weight_codes)
    return codes.to(torch.float32).mul_(scale[:, None])


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
    if weight is not None and packed.shape == weight.packed.shape and packed.is_contiguous():
        found = weight.serving(scale, bias, in_features, options)
        if found is not None:
            return found
    tensors = (packed, scale) if bias is None else (packed, scale, bias)

    def make() -> nn.Linear:
        codes = plain_codes(packed, scale.shape[0], in_features)
        return layer_from(codes, scale, bias, options)

    return _COPIES.get(tensors, (in_features, options), make), False
