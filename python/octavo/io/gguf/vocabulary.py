# SPDX-License-Identifier: Apache-2.0
"""What the keys ``tokenizer.ggml.*`` of a GGUF file say, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from octavo._text import shown
from octavo._types import Array
from octavo.io.gguf.reader import GgufFile
from octavo.io.gguf.splitting import WHOLE_WORDS

_PREFIX = "tokenizer.ggml."
_MODELS = ("gpt2", "llama")
_SPECIAL = {
    "bos": "bos_token_id",
    "eos": "eos_token_id",
    "unk": "unknown_token_id",
    "pad": "padding_token_id",
    "eot": "eot_token_id",
    "eom": "eom_token_id",
}
UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 2, 3, 4, 5, 6
_NORMAL = 1


class Vocabulary(NamedTuple):
    """Tokens, and how text becomes them.

    Attributes
    ----------
    model : str
        "gpt2", bytes as characters and merges in their order, or "llama", as SentencePiece.
    pre : str
        How text is cut first, of "gpt2".
    tokens : list of str
        Tokens by their ids, all different.
    kinds : list of int
        1 for a piece of text, 2 to 6 for others.
    scores : list of float or None
        Of "llama" without merges: pieces with higher scores are made first.
    merges : list of (str, str) or None
        Two tokens that make another one, in their order.
    special : dict of str to int
        Ids of "bos", "eos", "unk", "pad", "eot" and "eom", as far as they are given.
    add_bos, add_eos : bool
        Whether a text begins, or ends, with those.
    add_space : bool
        Whether a space is put before a text.
    template : str or None
        The chat template.
    """

    model: str
    pre: str
    tokens: list[str]
    kinds: list[int]
    scores: list[float] | None
    merges: list[tuple[str, str]] | None
    special: dict[str, int]
    add_bos: bool
    add_eos: bool
    add_space: bool
    template: str | None

    def token(self, name: str) -> str | None:
        """Return a special token, such as "bos", as text."""
        index = self.special.get(name)
        return None if index is None else self.tokens[index]


def read_vocabulary(file: GgufFile) -> Vocabulary:
    """Return what a file's keys say.

    Parameters
    ----------
    file : GgufFile
        As `octavo.io.open_gguf` gives it.

    Raises
    ------
    ValueError
        If a key is missing, or says what cannot be; the message names file and key.
    """
    keys = _Keys(file.metadata, file.path)
    model = keys.one("model", str)
    if model not in _MODELS:
        keys.fail("model", f"is {shown(model)}, expected one of {', '.join(_MODELS)}")
    pre = keys.one("pre", str, "default")
    tokens = _tokens(keys)
    kinds = keys.numbers("token_type", np.integer, len(tokens))
    if kinds is not None and not set(kinds) <= set(range(7)):
        keys.fail("token_type", "has other values than 0 to 6")
    merges = _merges(keys, frozenset(tokens))
    scores = keys.numbers("scores", np.floating, len(tokens)) if merges is None else None
    if scores is not None and any(map(math.isnan, scores)):
        keys.fail("scores", "holds NaN")
    if merges is None and (model == "gpt2" or scores is None):
        keys.fail("merges", "is missing")
    special = {
        name: index
        for name, key in _SPECIAL.items()
        if (index := keys.index(key, len(tokens))) is not None
    }
    add_bos = keys.one(
        "add_bos_token", bool, "bos" in special and (model == "llama" or pre in WHOLE_WORDS)
    )
    add_eos = keys.one("add_eos_token", bool, False)
    for name, wanted in (("bos", add_bos), ("eos", add_eos)):
        if wanted and name not in special:
            keys.fail(_SPECIAL[name], f"is missing, which add_{name}_token asks for")
    template = file.metadata.get("tokenizer.chat_template")
    if template is not None and not isinstance(template, str):
        raise ValueError(f"{file.path}: key 'tokenizer.chat_template': expected a string")
    return Vocabulary(
        model,
        pre,
        tokens,
        [_NORMAL] * len(tokens) if kinds is None else kinds,
        scores,
        merges,
        special,
        add_bos,
        add_eos,
        keys.one("add_space_prefix", bool, model == "llama"),
        template,
    )


class _Keys:
    """The keys of a tokenizer, by their last words."""

    def __init__(self, metadata: Mapping[str, Any], path: Path) -> None:
        self._metadata, self._path = metadata, path

    def fail(self, key: str, what: str) -> NoReturn:
        raise ValueError(f"{self._path}: key '{_PREFIX}{key}' {what}")

    def get(self, key: str) -> Any:
        return self._metadata.get(_PREFIX + key)

    def one(self, key: str, kind: type, default: Any = None) -> Any:
        value = self.get(key)
        value = default if value is None else value
        if not isinstance(value, kind):
            found = "is missing" if value is None else f"is {shown(value)}"
            self.fail(key, f"{found}, expected a {kind.__name__}")
        return value

    def strings(self, key: str) -> list[str] | None:
        value = self.get(key)
        # Arrays of strings are lists, those of numbers are ndarrays.
        if value is not None and not isinstance(value, list):
            self.fail(key, f"is {shown(value)}, expected an array of strings")
        return value

    def numbers(self, key: str, kind: type, count: int) -> list[Any] | None:
        value: Array | None = self.get(key)
        if value is None:
            return None
        if not isinstance(value, np.ndarray) or not issubclass(value.dtype.type, kind):
            self.fail(key, f"is {shown(value)}, expected an array of {kind.__name__} numbers")
        if len(value) != count:
            self.fail(key, f"has {len(value)} values, there are {count} tokens")
        return value.tolist()

    def index(self, key: str, count: int) -> int | None:
        value = self.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < count:
            self.fail(key, f"is {shown(value)}, expected an integer in [0, {count - 1}]")
        return int(value)


def _tokens(keys: _Keys) -> list[str]:
    tokens = keys.strings("tokens")
    if not tokens:
        keys.fail("tokens", "is missing or empty")
    seen: dict[str, int] = {}
    for index, token in enumerate(tokens):
        if seen.setdefault(token, index) != index:
            keys.fail("tokens", f"has {shown(token)} twice, at {seen[token]} and {index}")
    return tokens


def _merges(keys: _Keys, tokens: frozenset[str]) -> list[tuple[str, str]] | None:
    """Return pairs of tokens, each of which makes a token."""
    lines = keys.strings("merges")
    if lines is None:
        return None
    found: dict[tuple[str, str], int] = {}
    for index, line in enumerate(lines):
        left, _, right = line.partition(" ")
        if not left or not right or " " in right:
            keys.fail("merges", f"has {shown(line)} at {index}, expected two tokens and a space")
        for part in (left, right, left + right):
            if part not in tokens:
                keys.fail(
                    "merges", f"has {shown(line)} at {index}, and there is no token {shown(part)}"
                )
        if found.setdefault((left, right), index) != index:
            keys.fail("merges", f"has {shown(line)} twice, at {found[left, right]} and {index}")
    return list(found)
