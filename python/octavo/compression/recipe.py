# SPDX-License-Identifier: Apache-2.0
"""What to do to a model: recipes by name, as a dict, or in a YAML file; checked once."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from octavo import _checks
from octavo.pruning import _select

__all__ = ["Prune", "Recipe", "read_recipe"]

METHODS = ("magnitude", "wanda", "sparsegpt", "admm")
FITTING = ("sparsegpt", "admm")
"""Methods that also change the weights that stay."""
AIMS = ("model", "layer")
SCOPES = ("layer", "global")
QUANTIZE = ("int8", "none")
NAMES = "int8, sparse50-int8, 2:4-int8 or another sparsity or pattern of that form"

_NAME = re.compile(r"(?:sparse(?P<percent>\d+(?:\.\d+)?)|(?P<n>\d+):(?P<m>\d+))(?P<int8>-int8)?")
_PATTERN = re.compile(r"(\d+):(\d+)")
_FILES = (".yaml", ".yml")

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
            _named("recipe: prune.pattern", _select.group_of, *self.pattern)
        if self.block is not None:
            _named("recipe: prune.block", _select.block_of, *self.block)
        if self.sparsity is not None and _share(self.sparsity) == 0:
            raise ValueError("recipe: prune.sparsity: expected a value in (0, 1), got 0.0")
        if self.scope == "global" and self.pattern is not None:
            raise ValueError("recipe: prune.scope: a pattern is the same in every layer")
        if self.scope == "global" and self.method not in (None, "magnitude"):
            raise ValueError(f"recipe: prune.scope: {self.method} works layer by layer, not global")
        if self.method is not None:
            self._check_fitting(self.method)
        if self.aim is not None:
            _checks.choice(self.aim, "recipe: prune.aim", AIMS)
        if self.damping is not None and _checks.real(self.damping, "recipe: prune.damping") < 0:
            raise ValueError(f"recipe: prune.damping: expected at least 0, got {self.damping}")

    def _check_fitting(self, method: str) -> None:
        for key in ("aim", "damping"):
            if getattr(self, key) is not None and method not in FITTING:
                raise ValueError(f"recipe: prune.{key}: {method} has no {key}")

    def resolved(self, has_calibration: bool) -> Prune:
        """Return this with the choices that were left open made; raise if data are amiss.

        Parameters
        ----------
        has_calibration : bool
            Whether there is calibration data.
        """
        method = self.method
        if method is None:
            calibrated = has_calibration and self.scope == "layer"
            method = "sparsegpt" if calibrated else "magnitude"
        if method == "magnitude" and has_calibration:
            raise ValueError("calibration: expected none, pruning by magnitude does not use any")
        if method != "magnitude" and not has_calibration:
            raise ValueError(f"calibration: expected data, {method} needs it; got none")
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


@dataclass(frozen=True)
class Recipe:
    """Pruning, quantization, or both.

    Parameters
    ----------
    prune : Prune, optional
    quantize : "int8" or "none"

    Examples
    --------
    >>> from octavo.compression import Prune, Recipe
    >>> Recipe(Prune(sparsity=0.5)).to_dict()
    {'prune': {'sparsity': 0.5}, 'quantize': 'int8'}
    """

    prune: Prune | None = None
    quantize: str = "int8"

    def __post_init__(self) -> None:
        if self.prune is not None and not isinstance(self.prune, Prune):
            raise TypeError(f"prune: expected a Prune, got {type(self.prune).__name__}")
        _checks.choice(self.quantize, "recipe: quantize", QUANTIZE)
        if self.prune is None and self.quantize == "none":
            raise ValueError("recipe: expected pruning, quantization or both, got neither")

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as a dict, which `octavo.compress` takes too."""
        prune = {} if self.prune is None else {"prune": self.prune.to_dict()}
        return {**prune, "quantize": self.quantize}


def read_recipe(recipe: object) -> Recipe:
    """Return the recipe that a name, a dict or a YAML file stands for.

    Parameters
    ----------
    recipe : str, dict, os.PathLike or Recipe
        A name (``"int8"``, ``"sparse50-int8"``, ``"2:4-int8"``; without ``-int8`` the weights
        stay float), the fields, or a file that holds them.

    Raises
    ------
    TypeError, ValueError
        For an unknown name or field, or fields that contradict each other.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> from octavo.compression import read_recipe
    >>> read_recipe("2:4-int8").to_dict()
    {'prune': {'pattern': '2:4'}, 'quantize': 'int8'}
    """
    if isinstance(recipe, Recipe):
        return recipe
    if isinstance(recipe, Mapping):
        return _from_fields(recipe)
    if isinstance(recipe, os.PathLike):
        return _from_file(Path(recipe))
    if not isinstance(recipe, str):
        raise TypeError(
            f"recipe: expected a name, a dict or a YAML file, got {type(recipe).__name__}"
        )
    if recipe.endswith(_FILES):
        return _from_file(Path(recipe))
    return Recipe() if recipe == "int8" else _from_name(recipe)


def _from_name(name: str) -> Recipe:
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"recipe: expected {NAMES}, a dict or a YAML file, got {name!r}")
    quantize = "int8" if match["int8"] else "none"
    if match["percent"] is None:
        return Recipe(Prune(pattern=(int(match["n"]), int(match["m"]))), quantize)
    percent = float(match["percent"])
    if not 0 < percent < 100:
        raise ValueError(f"recipe: expected a sparsity between 0 and 100 percent, got {name!r}")
    return Recipe(Prune(sparsity=percent / 100), quantize)


def _from_file(path: Path) -> Recipe:
    try:
        import yaml
    except ImportError:
        raise ModuleNotFoundError(
            "a recipe in a file needs the 'pyyaml' package: pip install 'octavo[models]'"
        ) from None
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    try:
        if not isinstance(fields, dict):
            raise TypeError(f"recipe: expected fields, got {type(fields).__name__}")
        return _from_fields(fields)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path}: {error}") from None


def _from_fields(fields: Mapping[Any, Any]) -> Recipe:
    _refuse_unknown(fields, ("prune", "quantize"), "")
    prune = fields.get("prune")
    if prune is not None:
        if not isinstance(prune, Mapping):
            raise TypeError(f"recipe: prune: expected fields, got {type(prune).__name__}")
        known = ("method", "sparsity", "pattern", "block", "scope", "exclude", "aim", "damping")
        _refuse_unknown(prune, known, "prune.")
        read = {key: value for key, value in prune.items() if value is not None}
        if "pattern" in read:
            read["pattern"] = _pattern(read["pattern"])
        if "block" in read:
            read["block"] = _block(read["block"])
        if "exclude" in read:
            read["exclude"] = _exclude(read["exclude"])
        prune = Prune(**read)
    return Recipe(prune, fields.get("quantize", "int8"))


def _refuse_unknown(fields: Mapping[Any, Any], known: tuple[str, ...], where: str) -> None:
    for key in fields:
        if key not in known:
            raise ValueError(f"recipe: expected the fields {', '.join(known)}, got {where}{key}")


def _pattern(value: object) -> Pair:
    match = _PATTERN.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        # YAML reads 2:4 without quotes as the number 124.
        raise ValueError(f'recipe: prune.pattern: expected "2:4" in quotes, got {value!r}')
    return int(match[1]), int(match[2])


def _block(value: object) -> Pair:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError(f"recipe: prune.block: expected [rows, cols], got {value!r}")
    return value[0], value[1]


def _exclude(value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"recipe: prune.exclude: expected a list of names, got {value!r}")
    return tuple(value)


def _share(value: object) -> float:
    return _select.share(value, "recipe: prune.sparsity")


def _named(name: str, check: Any, *values: object) -> None:
    try:
        check(*values)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None
