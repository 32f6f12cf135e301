# SPDX-License-Identifier: Apache-2.0
"""The int8 linear layer without its zeros as a torch module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from octavo import nn
from octavo.torch import _codes, _ops
from octavo.torch._module import require_float
from octavo.torch._pruned import weight_of
from octavo.torch._sparse_ops import sparse_operator
from octavo.torch._sparse_weight import SparseWeight
from octavo.torch._tensors import is_eager, to_numpy
from octavo.torch.linear import Linear

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SparseLinear"]

# Older releases of PyTorch do not tell whether what they compile is for export.
_is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


class SparseLinear(Linear):
    """A `Linear` whose zero weights cost neither memory nor time.

    Made by `quantize_` of pruned layers, or from one float layer by `from_float`.  Its results have
    the same bits as those of a `Linear` with the same codes, in every format; gradients, dtypes and
    the rest are as there.  The formats are those of `octavo.SparseLinear`.

    State dicts hold ``weight_shape`` (int64), ``weight_bitmap`` (uint8, a bit for each weight) and
    ``weight_values`` (int8, the non-zero codes) instead of ``weight``, so that a file follows the
    zeros.  Those of a `Linear` load too, as do zeros in other places: with ``format="auto"`` the
    format is chosen anew.

    Notes
    -----
    Eager calls, also those with gradients, and graphs of `torch.compile` compute with the layer
    itself and cost no memory; the layer has to live until a graph's backward has run.  A program of
    `torch.export`, and whatever else sees operators (`torch.func.vmap`, other traces), works with
    bitmap and values, which every machine reads.  They are made when such a program is first
    traced, and from then on kept beside what computes: ``ceil(in_features / 8) * out_features``
    bytes and one for each non-zero weight, which `nbytes` counts.  With a PyTorch that has no
    `torch.compiler.is_exporting`, compiled graphs are as exported ones; once another number of
    non-zeros is loaded they have to be compiled anew.

    Examples
    --------
    >>> import torch, octavo.torch
    >>> float_layer = torch.nn.Linear(512, 512)
    >>> octavo.torch.prune_(float_layer, "block", rows=16, cols=4, amount=0.75)
    {'': 0.75}
    >>> layer = octavo.torch.SparseLinear.from_float(float_layer, format="bsr16x4")
    >>> layer.nbytes < octavo.torch.Linear.from_float(float_layer).nbytes / 3
    True
    >>> layer(torch.randn(2, 7, 512)).shape
    torch.Size([2, 7, 512])
    """

    _weight: SparseWeight
    _code_names = _codes.SPARSE

    @classmethod
    def from_float(
        cls,
        module: torch.nn.Linear,
        *,
        format: str = "auto",
        rows: int | Sequence[int] | None = None,
        symmetric: bool = False,
    ) -> SparseLinear:
        """Quantize a float layer, which is left as it is; zeros stay zeros.

        Parameters
        ----------
        module : torch.nn.Linear
            On the CPU; float32, bfloat16 or float16; finite; pruned or not.
        format : str
            "auto", "dense" or one of `octavo.tuning.SPARSE_FORMATS`.
            How the weight is held; see `octavo.SparseLinear`.
        rows : int or sequence of int, optional
            How many rows calls will have, for "auto"; see `octavo.tuning.choose`.
        symmetric : bool
            Quantize the rows of `x` symmetrically instead of over their own range.

        Raises
        ------
        TypeError
            If `module` is not a `torch.nn.Linear`, or another argument is of the wrong kind.
        ValueError
            If its numbers are on another device, without data, sparse, or not finite; for an
            unknown format, for `rows` with another format than "auto", and for more than 65,536
            inputs in a sparse format.
        """
        require_float(module, torch.nn.Linear)
        layer = nn.SparseLinear.from_float(
            to_numpy(weight_of(module)),
            None if module.bias is None else to_numpy(module.bias),
            format=format,
            rows=rows,
            symmetric=symmetric,
        )
        return cls(SparseWeight(layer, format, rows)).train(module.training)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer.

        Parameters
        ----------
        x : tensor, shape (..., in_features), float32, bfloat16 or float16

        Returns
        -------
        tensor, shape (..., out_features), the dtype of `x`
        """
        if torch.compiler.is_compiling() or not is_eager(x):
            operator = sparse_operator(x)
            # A compiled graph works with this layer, which its scales tell.
            bitmap = values = None
            if _is_exporting() or not torch.compiler.is_compiling():
                self._weight.make_parts()
                bitmap, values = self._weight.bitmap, self._weight.values
            return operator(
                x,
                bitmap,
                values,
                self.weight_scale,
                self.bias,
                self.in_features,
                self.symmetric,
                self.input_scale,
                self.input_zero_point,
            )
        if x.requires_grad and torch.is_grad_enabled():
            return _Differentiable.apply(x, self)
        return self._call(x)

    def _call(self, x: Tensor) -> Tensor:
        if self._adds_bias:
            return _ops.add_bias(self._weight.current(), x, self.bias)
        return _ops.apply(self._weight.current(), x)

    @property
    def format(self) -> str:
        """How the weight is held: "dense" or one of `octavo.tuning.SPARSE_FORMATS`."""
        return self._weight.layer.format

    @property
    def sparsity(self) -> float:
        """The share of weights that are zero."""
        return float(self._weight.layer.sparsity)

    def _stored_codes(self) -> dict[str, Tensor]:
        bitmap, values = _codes.parts_of(self._weight.layer.weight_codes)
        shape = torch.tensor(self._weight.shape)
        return dict(zip(_codes.SPARSE, (shape, bitmap, values), strict=True))

    def extra_repr(self) -> str:
        """Describe the layer as `Linear` does, and its zeros."""
        return f"{super().extra_repr()}, sparsity={self.sparsity:.2f}, format={self.format!r}"


class _Differentiable(torch.autograd.Function):
    """An eager call with a gradient, which needs no tensors of the codes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: SparseLinear) -> Tensor:
        ctx.weight, ctx.dtype = layer._weight, x.dtype
        ctx.save_for_backward(layer.weight_scale)  # which tells if somebody writes to it meanwhile
        return layer._call(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Let the rounding of activations pass gradients through: dx = dy @ dequantized weight."""
        (scale,) = ctx.saved_tensors
        weight = ctx.weight.codes().float().mul_(scale[:, None])
        return (gradients[0].float() @ weight).to(ctx.dtype), None
