# SPDX-License-Identifier: Apache-2.0
"""What to do to a model: recipes by name, as a dict, or in a YAML file; checked once."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from octavo._text import shown
from octavo.compression.recipe._yaml import read_yaml
from octavo.compression.recipe.prune import Prune
from octavo.compression.recipe.quantize import IN_GROUPS, Quantize
from octavo.compression.recipe.recipe import Recipe, from_fields
from octavo.compression.recipe.share import Share

__all__ = ["IN_GROUPS", "PRESETS", "Prune", "Quantize", "Recipe", "Share", "read_recipe"]

PRESETS: dict[str, dict[str, Any]] = {
    "int8": {},
    "int8-static": {"quantize": {"activations": "static", "smooth": "auto"}},
    "int8-smooth": {"quantize": {"smooth": "auto"}},
    "int8-gptq": {"quantize": {"rounding": "gptq"}},
    "int4": {"quantize": "int4"},
    "int4-smooth": {"quantize": {"dtype": "int4", "smooth": "auto"}},
    "int4-gptq": {"quantize": {"dtype": "int4", "rounding": "gptq"}},
    "fp16": {"quantize": "float16"},
    "bf16": {"quantize": "bfloat16"},
    "deep-compression": {
        "prune": {"sparsity": 0.5},
        "quantize": {"rounding": "gptq"},
        "share": {"clusters": 32, "embedding_clusters": 16},
        "store": "zstd",
    },
}
"""Recipes that have a name of their own."""

_NAME = re.compile(r"(?:sparse(?P<percent>\d+(?:\.\d+)?)|(?P<n>\d+):(?P<m>\d+))(?P<int8>-int8)?")
_FILES = (".yaml", ".yml")


def read_recipe(recipe: object) -> Recipe:
    """Return the recipe that a name, a dict or a YAML file stands for.

    Parameters
    ----------
    recipe : str, dict, os.PathLike or Recipe
        One of `PRESETS`; or a name of the form ``"sparse50-int8"`` or ``"2:4-int8"`` (without
        ``-int8`` the weights stay float); or the fields; or a file that holds them.

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
        return from_fields(recipe)
    if isinstance(recipe, os.PathLike):
        return _from_file(Path(recipe))
    if not isinstance(recipe, str):
        raise TypeError(
            f"recipe: expected a name, a dict or a YAML file, got {type(recipe).__name__}"
        )
    if recipe.endswith(_FILES):
        return _from_file(Path(recipe))
    if recipe in PRESETS:
        return from_fields(PRESETS[recipe])
    return _from_name(recipe)


def _from_name(name: str) -> Recipe:
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(
            f"recipe: expected {', '.join(PRESETS)}, sparse50-int8, 2:4-int8 or another sparsity "
            f"or pattern of that form, a dict or a YAML file, got {shown(name)}"
        )
    quantize = Quantize("int8" if match["int8"] else "none")
    if match["percent"] is None:
        return Recipe(Prune(pattern=(int(match["n"]), int(match["m"]))), quantize)
    percent = float(match["percent"])
    if not 0 < percent < 100:
        raise ValueError(
            f"recipe: expected a sparsity between 0 and 100 percent, got {shown(name)}"
        )
    return Recipe(Prune(sparsity=percent / 100), quantize)


def _from_file(path: Path) -> Recipe:
    fields = read_yaml(path)
    try:
        if not isinstance(fields, dict):
            raise TypeError(f"recipe: expected fields, got {type(fields).__name__}")
        return from_fields(fields)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path}: {error}") from None
