# SPDX-License-Identifier: Apache-2.0
"""The int8 linear layer without its zeros as a torch module."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from octavo import nn
from octavo.torch._module import require_float
from octavo.torch._pruned import weight_of
from octavo.torch.linear import Linear
from octavo.torch.memory import LayerMemory
from octavo.torch.tensors import to_numpy


class SparseLinear(Linear):
    """The name of a `Linear` whose zero weights cost neither memory nor time.

    Made by `quantize_` of pruned layers, or from one float layer by `from_float`.  Its results have
    the same bits as those of a `Linear` with the same codes, in every format; the formats are those
    of `octavo.SparseLinear`.

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
    traced, and from then on kept beside what computes: ``16 + ceil(in_features / 8) *
    out_features`` bytes and one for each non-zero weight, which `nbytes` counts.  With a PyTorch
    that has no `torch.compiler.is_exporting`, compiled graphs are as exported ones; once another
    number of non-zeros is loaded they have to be compiled anew.

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

    @classmethod
    def from_float(  # type: ignore[override]
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
        memory = LayerMemory(layer, {"format": format, "rows": rows})
        return cls(memory).train(module.training)

    @property
    def format(self) -> str:
        """How the weight is held: "dense" or one of `octavo.tuning.SPARSE_FORMATS`."""
        return self._weight.layer.format

    @property
    def sparsity(self) -> float:
        """The share of weights that are zero."""
        return float(self._weight.layer.sparsity)
