# SPDX-License-Identifier: Apache-2.0
"""A whole recipe: its parts, and what they may not be together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from octavo import _checks
from octavo.compression.recipe import _fields
from octavo.compression.recipe.prune import Prune, read_prune
from octavo.compression.recipe.quantize import Quantize, read_quantize
from octavo.compression.recipe.share import Share, read_share

STORE = ("plain", "zstd")


@dataclass(frozen=True)
class Recipe:
    """What to do to a model.

    Parameters
    ----------
    prune : Prune, optional
    quantize : Quantize, or its dtype
    share : Share, optional
    store : "plain" or "zstd"
        How a saved model's weights are written: mapped as they are, or compressed without loss.
    seed : int
        Of everything random in it.

    Examples
    --------
    >>> from octavo.compression import Prune, Recipe
    >>> Recipe(Prune(sparsity=0.5)).to_dict()
    {'prune': {'sparsity': 0.5}, 'quantize': 'int8'}
    """

    prune: Prune | None = None
    quantize: Quantize = field(default_factory=Quantize)
    share: Share | None = None
    store: str = "plain"
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.quantize, str):
            object.__setattr__(self, "quantize", read_quantize(self.quantize))
        for key, kind in (("prune", Prune), ("share", Share), ("quantize", Quantize)):
            value = getattr(self, key)
            if not isinstance(value, kind) and (key == "quantize" or value is not None):
                name = type(value).__name__
                raise TypeError(f"recipe: {key}: expected a {kind.__name__}, got {name}")
        _checks.choice(self.store, "recipe: store", STORE)
        _checks.integer(self.seed, "recipe: seed", 0)
        if self.prune is None and self.quantize.dtype == "none":
            raise ValueError("recipe: expected pruning, quantization or both, got neither")
        if self.share is not None and self.quantize.dtype != "int8":
            raise ValueError(
                f"recipe: share: expected quantize: int8 beside it, got {self.quantize.dtype}"
            )

        for key in ("bits", "embedding_bits"):
            value = getattr(self.quantize, key)
            if self.share is not None and value not in (8, None):
                raise ValueError(f"recipe: quantize.{key}: expected 8 beside share, got {value}")

    def resolved(self, has_calibration: bool) -> Recipe:
        """Return this with the choices that were left open made; raise if data are amiss.

        Parameters
        ----------
        has_calibration : bool
            Whether there is calibration data.
        """
        quantize = self.quantize.resolved(has_calibration)
        needed = quantize.needs_data
        prune = self.prune
        if prune is not None:
            prune = prune.resolved(has_calibration)
            if prune.method != "magnitude":
                needed = needed or prune.method
        if needed is not None and not has_calibration:
            raise ValueError(f"calibration: expected data, {needed} needs it; got none")
        return replace(self, prune=prune, quantize=quantize)

    @property
    def needs_data(self) -> bool:
        """Whether calibration data has a part in it, once it is resolved."""
        calibrated = self.prune is not None and self.prune.method not in (None, "magnitude")
        return calibrated or self.quantize.needs_data is not None

    @property
    def passes(self) -> int:
        """How many passes over calibration data it makes, once it is resolved; 2 for more."""
        calibrated = self.prune is not None and self.prune.method not in (None, "magnitude")
        return min(2, 2 * calibrated + self.quantize.passes)

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as a dict, which `octavo.compress` takes too."""
        fields: dict[str, Any] = {}
        if self.prune is not None:
            fields["prune"] = self.prune.to_dict()
        quantize = self.quantize.to_dict()
        fields["quantize"] = quantize if len(quantize) > 1 else self.quantize.dtype
        if self.share is not None:
            fields["share"] = self.share.to_dict()
        if self.store != "plain":
            fields["store"] = self.store
        if self.seed:
            fields["seed"] = self.seed
        return fields


def from_fields(fields: Mapping[Any, Any]) -> Recipe:
    """Return the recipe of a dict."""
    read = _fields.known(fields, Recipe, "")
    parts = {"prune": read_prune, "quantize": read_quantize, "share": read_share}
    for key, reader in parts.items():
        if key in read:
            read[key] = reader(read[key])
    return Recipe(**read)
