# SPDX-License-Identifier: Apache-2.0
"""Sentences as token ids, by a model folder's own tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["tokenize"]


def tokenize(
    folder: Path, sentences: Sequence[str], limit: int
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

    Returns
    -------
    (ids, mask) : int64 arrays of shape (sentences, longest)
    """
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise ModuleNotFoundError(
            "sentences need the 'tokenizers' package: pip install 'octavo[models]'"
        ) from None
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: no tokenizer.json")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.enable_truncation(limit)
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(list(sentences))
    ids = np.array([item.ids for item in encoded], dtype=np.int64)
    mask = np.array([item.attention_mask for item in encoded], dtype=np.int64)
    return ids, mask
