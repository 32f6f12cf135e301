# SPDX-License-Identifier: Apache-2.0
"""YAML from outside, of which little is believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from octavo._files import read_bytes
from octavo._text import decoded, shown

_MOST_BYTES = 1 << 15
"""Takes at most a second or two to read; names of layers can be written with ``*``."""

_DEEPEST = 16


def read_yaml(path: Path) -> Any:
    """Return what a YAML file says.

    Raises
    ------
    ValueError
        If it is none, is large, or has aliases, by which a few lines can stand for more than
        memory holds; the message names the file.
    ModuleNotFoundError
        Without pyyaml.
    """
    try:
        import yaml
    except ImportError:
        raise ModuleNotFoundError(
            "a recipe in a file needs the 'pyyaml' package: pip install 'octavo[models]'"
        ) from None
    content = read_bytes(path, _MOST_BYTES)
    try:
        text = decoded(content)
        _check_tokens(yaml.scan(text))
        return yaml.safe_load(text)
    except Exception as error:  # what is no value of its kind stops the parser with any error
        raise ValueError(f"{path}: not YAML: {shown(' '.join(str(error).split()))}") from None


def _check_tokens(tokens: Any) -> None:
    depth = 0
    for token in tokens:
        kind = type(token).__name__
        if kind.startswith(("Block", "Flow")):
            depth += kind.endswith("StartToken") - kind.endswith("EndToken")
        if kind == "AliasToken" or depth > _DEEPEST:
            what = "an alias" if kind == "AliasToken" else f"more than {_DEEPEST} levels"
            raise ValueError(f"line {token.start_mark.line + 1} has {what}, which is not read")
