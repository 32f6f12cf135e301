# SPDX-License-Identifier: Apache-2.0
"""Files of sentences and arrays; sentences as token ids, by a model folder's own tokenizer."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["read_arrays", "read_lines", "tokenize"]

_TOKENIZER = "tokenizer.json"


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a UTF-8 file that are not blank, each with its number."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8, got byte {error.start}") from None
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def read_arrays(path: Path) -> dict[str, Any]:
    """Return the plain arrays of an ``.npz`` file."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (BadZipFile, ValueError, EOFError) as error:
        raise ValueError(f"{path}: not an .npz file of plain arrays: {error}") from None


def tokenize(
    folder: Path, sentences: Sequence[str], limit: int, files: Mapping[str, bytes] | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Turn sentences into padded ids and their mask with the folder's ``tokenizer.json``.

    Parameters
    ----------
    folder : pathlib.Path
        The model's folder.
    sentences : sequence of str
        The text.
    limit : int
        Longer sentences are cut to this number of tokens.
    files : mapping of str to bytes, optional
        The folder's files if they were read before, with the model say; `folder` is only named.

    Returns
    -------
    (ids, mask) : int64 arrays of shape (sentences, longest)
    """
    content = _read_tokenizer(folder) if files is None else files.get(_TOKENIZER)
    if content is None:
        when = "" if files is None else " when the model was loaded"
        raise FileNotFoundError(f"{folder}: no {_TOKENIZER}{when}")
    encoded = _opened(content, limit).encode_batch(list(sentences))
    ids = np.array([item.ids for item in encoded], dtype=np.int64)
    mask = np.array([item.attention_mask for item in encoded], dtype=np.int64)
    return ids, mask


def _read_tokenizer(folder: Path) -> bytes | None:
    path = folder / _TOKENIZER
    return path.read_bytes() if path.is_file() else None


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
