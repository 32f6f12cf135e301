# SPDX-License-Identifier: Apache-2.0
"""The part of a recipe that prunes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from octavo import _checks
from octavo._text import shown
from octavo.algorithms.pruning import selection
from octavo.compression.recipe import _fields

METHODS = ("magnitude", "wanda", "sparsegpt", "admm")
FITTING = ("sparsegpt", "admm")
"""Methods that also change the weights that stay."""
AIMS = ("model", "layer")
SCOPES = ("layer", "global")

_PATTERN = re.compile(r"(\d+):(\d+)")

Pair = tuple[int, int]


@dataclass(frozen=True)
class Prune:
    """Which weights of the linear layers become zero.

    Parameters
    ----------
    method : "magnitude", "wanda", "sparsegpt" or "admm", optional
        Default: SparseGPT where there is calibration data, else magnitude.
    sparsity : float, optional
        Share of zeros in (0, 1).
    pattern : (n, m), optional
        At most `n` of every `m` neighbours stay; instead of `sparsity`.
    block : (rows, cols), optional
        Whole blocks go; with `sparsity`.
    scope : "layer" or "global"
        Global: magnitude with one threshold for all layers.
    exclude : tuple of str
        Names of layers that stay as they are; ``*`` stands for anything.
    aim : "model" or "layer", optional
        Of SparseGPT and ADMM. Layer, as in the papers: each layer keeps the outputs that its
        weights had on the inputs it now gets. Model (the default): it comes near what the float
        model has in its place, and so makes up for what was lost before it; biases are fitted too.
    damping : float, optional
        Of SparseGPT and ADMM.
    """

    method: str | None = None
    sparsity: float | None = None
    pattern: Pair | None = None
    block: Pair | None = None
    scope: str = "layer"
    exclude: tuple[str, ...] = ()
    aim: str | None = None
    damping: float | None = None

    def __post_init__(self) -> None:
        if self.method is not None:
            _checks.choice(self.method, "recipe: prune.method", METHODS)
        _checks.choice(self.scope, "recipe: prune.scope", SCOPES)
        if self.pattern is not None and (self.sparsity is not None or self.block is not None):
            other = "sparsity" if self.sparsity is not None else "block"
            raise ValueError(f"recipe: expected prune.pattern or prune.{other}, got both")
        if self.pattern is None and self.sparsity is None:
            raise ValueError("recipe: expected prune.sparsity or prune.pattern, got neither")
        if self.pattern is not None:
            _named("recipe: prune.pattern", selection.group_of, *self.pattern)
        if self.block is not None:
            _named("recipe: prune.block", selection.block_of, *self.block)
        if (
            self.sparsity is not None
            and selection.share(self.sparsity, "recipe: prune.sparsity") == 0
        ):
            raise ValueError("recipe: prune.sparsity: expected a value in (0, 1), got 0.0")
        if self.scope == "global" and self.pattern is not None:
            raise ValueError("recipe: prune.scope: a pattern is the same in every layer")
        if self.scope == "global" and self.method not in (None, "magnitude"):
            raise ValueError(f"recipe: prune.scope: {self.method} works layer by layer, not global")
        if self.method is not None:
            self._check_fitting(self.method)
        if self.aim is not None:
            _checks.choice(self.aim, "recipe: prune.aim", AIMS)
        if self.damping is not None:
            _checks.real(self.damping, "recipe: prune.damping", "[0, inf)")

    def _check_fitting(self, method: str) -> None:
        for key in ("aim", "damping"):
            if getattr(self, key) is not None and method not in FITTING:
                raise ValueError(f"recipe: prune.{key}: {method} has no {key}")

    def resolved(self, has_calibration: bool) -> Prune:
        """Return this with the choices that were left open made.

        Parameters
        ----------
        has_calibration : bool
            Whether there is calibration data.
        """
        method = self.method
        if method is None:
            calibrated = has_calibration and self.scope == "layer"
            method = "sparsegpt" if calibrated else "magnitude"
        self._check_fitting(method)
        aim = (self.aim or AIMS[0]) if method in FITTING else None
        return replace(self, method=method, aim=aim)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that are set, as a recipe's dict has them."""
        fields: dict[str, Any] = {"method": self.method, "sparsity": self.sparsity}
        if self.pattern is not None:
            fields["pattern"] = f"{self.pattern[0]}:{self.pattern[1]}"
        fields["block"] = None if self.block is None else list(self.block)
        fields["scope"] = None if self.scope == "layer" else self.scope
        fields["exclude"] = list(self.exclude) or None
        fields["aim"], fields["damping"] = self.aim, self.damping
        return {key: value for key, value in fields.items() if value is not None}


def read_prune(fields: Mapping[Any, Any]) -> Prune:
    """Return what the fields of a dict or a file say."""
    read = _fields.known(fields, Prune, "prune.")
    if "pattern" in read:
        read["pattern"] = _pattern(read["pattern"])
    if "block" in read:
        read["block"] = _block(read["block"])
    if "exclude" in read:
        read["exclude"] = _fields.names(read["exclude"], "recipe: prune.exclude")
    return Prune(**read)


def _pattern(value: object) -> Pair:
    match = _PATTERN.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        # YAML reads 2:4 without quotes as the number 124.
        raise ValueError(f'recipe: prune.pattern: expected "2:4" in quotes, got {shown(value)}')
    return int(match[1]), int(match[2])


def _block(value: object) -> Pair:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError(f"recipe: prune.block: expected [rows, cols], got {shown(value)}")
    return value[0], value[1]


def _named(name: str, check: Any, *values: object) -> None:
    try:
        check(*values)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None
