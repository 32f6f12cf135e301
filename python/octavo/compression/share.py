# SPDX-License-Identifier: Apache-2.0
"""Layers whose weights share few values, by what a recipe says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from octavo import nn
from octavo.algorithms import sharing
from octavo.compression.name_patterns import NamePatterns
from octavo.models.config import OUTPUT_LAYER

if TYPE_CHECKING:
    from octavo.compression.recipe import Share
    from octavo.compression.work import LayerPlan

__all__ = ["Sharing"]


class Sharing:
    """Which layers share, and the codes of those that nothing else has rounded.

    Parameters
    ----------
    share : Share or None
        None: no layer is to have few codes.
    """

    def __init__(self, share: Share | None) -> None:
        self._share = share
        exclude = () if share is None else share.exclude
        self._kept = NamePatterns(exclude, "share.exclude", "linear layers or embeddings")

    def clusters(self, name: str, layer: nn.Module) -> int | None:
        """Return how many codes a layer may have; None if it does not share."""
        if self._share is None or name == OUTPUT_LAYER:
            return None
        if layer.kind != "float32" or name in self._kept:
            return None
        return self._share.clusters if nn.is_linear(layer) else self._share.embedding_clusters

    def __call__(self, name: str, layer: nn.Module, plan: LayerPlan) -> LayerPlan:
        """Return the plan of a layer, with codes and scales if it shares.

        Parameters
        ----------
        name : str
            For error messages too.
        layer : Module
            Any leaf of a model.
        plan : LayerPlan
            Codes that it has are kept.
        """
        clusters = self.clusters(name, layer)
        if clusters is None or plan.codes is not None:
            return plan
        held: Any = layer
        weight = held.weight
        if plan.outliers is not None and plan.outliers.size:
            weight = np.array(weight)
            weight[:, plan.outliers] = 0
        try:
            shared = sharing.share(weight, clusters)
        except ValueError as error:
            raise ValueError(f"layer {name!r}: {error}") from None
        return replace(plan, codes=shared.codes, scale=shared.scale)

    def check(self) -> None:
        """Raise if the recipe names layers that were never met."""
        self._kept.check()
