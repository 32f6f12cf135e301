# SPDX-License-Identifier: Apache-2.0
"""Sentences as token ids, by a model folder's own tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from octavo._files import read_bytes
from octavo._text import shown

_TOKENIZER = "tokenizer.json"


class _Positions(Protocol):
    @property
    def positions(self) -> int: ...


class TokenModel(Protocol):
    """What reading data asks of a model."""

    @property
    def config(self) -> _Positions:
        """How many tokens it takes at most."""

    @property
    def source(self) -> Path | None:
        """The folder that it was loaded from."""

    @property
    def files(self) -> Mapping[str, bytes]:
        """The tokenizer's files."""

    def checked(
        self, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None, /
    ) -> tuple[Any, Any, Any]:
        """Return the arguments of a call as it computes with them, or raise."""


def tokens_for(model: TokenModel, sentences: Sequence[str], name: str) -> tuple[Any, Any]:
    """Turn sentences into padded ids and their mask as a model takes them."""
    if model.source is None:
        raise ValueError(
            f"{name}: sentences need the model's tokenizer, and this model was not loaded from a"
            " folder; pass input_ids"
        )
    return tokenize(model.source, sentences, model.config.positions, model.files)


def tokenize(
    folder: Path, sentences: Sequence[str], limit: int, files: Mapping[str, bytes] | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Turn sentences into padded ids and their mask, int64, with the folder's ``tokenizer.json``.

    Longer sentences are cut to `limit` tokens. `files` are those of the folder if they were read
    before, with the model say; the folder is only named then.
    """
    content = _read_tokenizer(folder) if files is None else files.get(_TOKENIZER)
    if content is None:
        when = "" if files is None else " when the model was loaded"
        raise FileNotFoundError(f"{folder}: no {_TOKENIZER}{when}")
    try:
        encoded = _opened(content, limit).encode_batch(list(sentences))
    except (KeyboardInterrupt, SystemExit, MemoryError, ModuleNotFoundError):
        raise
    except BaseException as error:  # the library's panics are no Exceptions
        raise ValueError(f"{folder / _TOKENIZER}: not a tokenizer: {shown(str(error))}") from None
    ids = np.array([item.ids for item in encoded], dtype=np.int64)
    mask = np.array([item.attention_mask for item in encoded], dtype=np.int64)
    return ids, mask


def _read_tokenizer(folder: Path) -> bytes | None:
    try:
        return read_bytes(folder / _TOKENIZER)
    except FileNotFoundError:
        return None


@lru_cache(maxsize=4)
def _opened(content: bytes, limit: int) -> Any:
    """Return a tokenizer; reading a vocabulary takes longer than a batch of sentences."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise ModuleNotFoundError(
            "sentences need the 'tokenizers' package: pip install 'octavo[models]'"
        ) from None
    tokenizer = Tokenizer.from_buffer(content)
    tokenizer.enable_truncation(limit)
    tokenizer.enable_padding()
    return tokenizer
