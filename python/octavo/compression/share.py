# SPDX-License-Identifier: Apache-2.0
"""Layers whose weights share few values, by what a recipe says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from octavo import nn, sharing
from octavo.compression.names import Names
from octavo.models.encoder import OUTPUT_LAYER

if TYPE_CHECKING:
    from octavo.compression.recipe import Share

__all__ = ["Sharing"]


class Sharing:
    """``sharing(name, layer, pruned)``: the int8 form of a layer with few codes, or None.

    Parameters
    ----------
    share : Share or None
        None: no layer is to have one.
    """

    def __init__(self, share: Share | None) -> None:
        self._share = share
        exclude = () if share is None else share.exclude
        self._kept = Names(exclude, "share.exclude", "linear layers or embeddings")

    def __call__(self, name: str, layer: nn.Module, pruned: bool) -> nn.Module | None:
        """Convert a layer.

        Parameters
        ----------
        name : str
            For error messages too.
        layer : Module
            Any leaf of a model.
        pruned : bool
            Whether its zeros are to be made use of.
        """
        share = self._share
        if share is None or name == OUTPUT_LAYER:
            return None
        if not isinstance(layer, (nn.FloatLinear, nn.FloatEmbedding)) or name in self._kept:
            return None
        embedding = isinstance(layer, nn.FloatEmbedding)
        clusters = share.embedding_clusters if embedding else share.clusters
        try:
            codes, scale, _ = sharing.share(layer.weight, clusters)
            if isinstance(layer, nn.FloatEmbedding):
                return nn.Embedding.from_quantized(codes, scale)
            kind = nn.SparseLinear if pruned else nn.Linear
            bias = None if layer.bias is None else np.array(layer.bias)
            return kind.from_quantized(codes, scale, bias, activation=layer.activation)
        except ValueError as error:
            raise ValueError(f"layer {name!r}: {error}") from None

    def check(self) -> None:
        """Raise if the recipe names layers that were never met."""
        self._kept.check()
