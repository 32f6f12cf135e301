# SPDX-License-Identifier: Apache-2.0
"""The weight of one linear layer without its zeros, and the tensors that graphs know it by."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

import torch

from octavo import nn, tuning
from octavo.io.bitmap import pack_bitmap
from octavo.torch._codes import codes_of, parts_of
from octavo.torch._tensors import TensorCache, to_numpy
from octavo.torch._weight import (
    LayerWeight,
    Options,
    PackedWeight,
    layer_from,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from octavo.torch._tensors import Array

__all__ = ["SparseWeight", "sparse_dequantized", "sparse_layer_of", "weight_from"]

# Where a layer's scales lie -> its weight; see `_weight._BY_ADDRESS`.
_BY_ADDRESS: weakref.WeakValueDictionary[int, SparseWeight] = weakref.WeakValueDictionary()

_MAKING = threading.Lock()


class SparseWeight(LayerWeight):
    """A weight in a format that leaves zeros out.

    Parameters
    ----------
    layer : octavo.Linear
        Whose weight leaves zeros out.
    format, rows
        How its format was asked for; other numbers of the same shape are held so too.

    Attributes
    ----------
    bitmap : uint8 tensor, shape (out_features, ceil(in_features / 8)), or None
    values : int8 tensor, shape (nonzeros,), or None
        The codes as exported programs hold them, beside what computes; None until one does.
    """

    bitmap: torch.Tensor | None
    values: torch.Tensor | None

    def __init__(
        self,
        layer: nn.Linear,
        format: str = "auto",
        rows: int | Sequence[int] | None = None,
    ) -> None:
        self.form = {"format": format, "rows": rows}
        self.bitmap = self.values = None
        super().__init__(layer)

    def _view(self, layer: nn.Linear) -> None:
        if hasattr(self, "scale"):
            _BY_ADDRESS.pop(self.scale.data_ptr(), None)
        super()._view(layer)
        if self.scale.numel():  # no outputs lie at no address
            _BY_ADDRESS[self.scale.data_ptr()] = self

    def _view_codes(self, codes: Array | None) -> None:  # noqa: ARG002
        if self.bitmap is not None:
            self._show_parts()

    def _show_parts(self) -> None:
        bitmap, values = pack_bitmap(self.layer.weight_codes)
        self._show("bitmap", bitmap)
        self._show("values", values)
        self._versions = self._versions_now()

    def _versions_now(self) -> tuple[int, ...]:
        return tuple(part._version for part in (self.bitmap, self.values) if part is not None)

    def make_parts(self) -> bool:
        """Make `bitmap` and `values`, once."""
        with _MAKING:
            if self.bitmap is None:
                self._show_parts()
        return True

    # What torch.compiler.assume_constant_result would set, without importing the compiler: it calls
    # this while it traces, and finds the tensors as attributes afterwards.
    make_parts._dynamo_marked_constant = True  # type: ignore[attr-defined]

    @property
    def nbytes(self) -> int:
        """Bytes of the codes, the scales and the bias, and of what was made for export."""
        parts = (self.bitmap, self.values)
        return self.layer.nbytes + sum(part.nbytes for part in parts if part is not None)

    def has_parts(self, bitmap: torch.Tensor | None, values: torch.Tensor | None) -> bool:
        """Whether these tensors are the weight's own, and nobody wrote to them; or none at all."""
        if bitmap is None and values is None:
            return True
        pairs = ((bitmap, self.bitmap), (values, self.values))
        return (
            all(
                own is not None
                and part is not None
                and part.data_ptr() == own.data_ptr()
                and part.shape == own.shape
                and part.is_contiguous()
                for part, own in pairs
            )
            and self._versions == self._versions_now()
        )

    def _layer(
        self,
        codes: torch.Tensor,
        scale: torch.Tensor,
        bias: torch.Tensor | None,
        options: Options,
    ) -> nn.Linear:
        return layer_from(codes, scale, bias, options, **self.form)

    def __reduce__(self) -> tuple[Callable[..., SparseWeight], tuple[Any, ...]]:
        bias = None if self.bias is None else self.bias.clone()
        parts = (*parts_of(self.layer.weight_codes), self.shape[1])
        return _rebuild, (parts, self.scale.clone(), bias, self.options, self.form)


def _rebuild(
    parts: tuple[torch.Tensor, torch.Tensor, int],
    scale: torch.Tensor,
    bias: torch.Tensor | None,
    options: Options,
    form: dict[str, Any],
) -> SparseWeight:
    codes = torch.from_numpy(codes_of(*parts))
    layer = layer_from(codes, scale, bias, options, **form)
    return SparseWeight(layer, **form)


def weight_from(
    codes: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor | None,
    options: Options,
    sparse: str,
) -> LayerWeight:
    """Hold quantized numbers in the form that is fastest and no slower for any number of rows.

    Parameters
    ----------
    codes : int8 tensor, shape (N, K)
    scale : float tensor, shape (N,)
    bias : float tensor, shape (N,), or None
    options : Options
    sparse : "auto", "never" or "always"
        As in `octavo.torch.Int8Dynamic`.
    """
    format = "dense" if sparse == "never" else tuning.choose(to_numpy(codes))
    if format == "dense" and sparse != "always":
        return PackedWeight(layer_from(codes, scale, bias, options))
    layer = layer_from(codes, scale, bias, options, format=format)
    return SparseWeight(layer)


def sparse_dequantized(
    bitmap: torch.Tensor | None,
    values: torch.Tensor | None,
    scale: torch.Tensor,
    in_features: int,
) -> torch.Tensor:
    """Return the float32 weight (N, K) of a bitmap and its values."""
    weight = _BY_ADDRESS.get(scale.data_ptr())
    shape = scale.numel(), in_features
    own = weight is not None and weight.scale.data_ptr() == scale.data_ptr()
    if weight is not None and own and weight.shape == shape and weight.has_parts(bitmap, values):
        codes = weight.codes()
    else:
        codes = _copied_codes(bitmap, values, scale, in_features)
    return codes.to(torch.float32).mul_(scale.reshape(-1, 1))


_COPIES: TensorCache[nn.Linear] = TensorCache()


def sparse_layer_of(
    bitmap: torch.Tensor | None,
    values: torch.Tensor | None,
    scale: torch.Tensor,
    bias: torch.Tensor | None,
    in_features: int,
    options: Options,
) -> tuple[nn.Linear, bool]:
    """Return the layer that the tensors belong to, and whether the bias is still to be added.

    Tensors that are copies (of an exported program, say) get a layer of their own, in the format
    that is fastest here, kept as long as they live.
    """
    weight = _BY_ADDRESS.get(scale.data_ptr())
    if weight is not None and weight.has_parts(bitmap, values):
        found = weight.serving(scale, bias, in_features, options)
        if found is not None:
            return found
    tensors = tuple(part for part in (bitmap, values, scale, bias) if part is not None)

    def make() -> nn.Linear:
        codes = _copied_codes(bitmap, values, scale, in_features)
        return layer_from(codes, scale, bias, options, format="auto")

    return _COPIES.get(tensors, (in_features, options), make), False


def _copied_codes(
    bitmap: torch.Tensor | None,
    values: torch.Tensor | None,
    scale: torch.Tensor,
    in_features: int,
) -> torch.Tensor:
    if scale.numel() == 0:
        return torch.empty((0, in_features), dtype=torch.int8)
    if bitmap is None or values is None:
        raise ValueError(
            "scale: expected that of a living octavo.torch.SparseLinear where bitmap or values is"
            " None, got another tensor: a compiled graph works with the layers that it was compiled"
            " from; use torch.export for one that is moved"
        )
    codes = codes_of(bitmap, values, in_features)
    # Older releases of torch.export take the scales from a state dict, where they are a column.
    if tuple(scale.shape) not in ((len(codes),), (len(codes), 1)):
        raise ValueError(f"scale: expected shape ({len(codes)},), got {tuple(scale.shape)}")
    return torch.from_numpy(codes)
