# SPDX-License-Identifier: Apache-2.0
"""Sentences as padded token ids, by a model folder's own tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from octavo.io.tokenizer import Tokenizer, padded, read_tokenizer


class TokenModel(Protocol):
    """What reading data asks of a model."""

    @property
    def text_limit(self) -> int:
        """How many tokens of a text it reads."""

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
    return tokenize(model.source, sentences, model.text_limit, model.files)


def tokenize(
    folder: Path, sentences: Sequence[str], limit: int, files: Mapping[str, bytes] | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Turn sentences into padded ids and their mask, int64, with the folder's tokenizer.

    Longer sentences are cut to `limit` tokens. `files` are those of the folder if they were read
    before, with the model say; the folder is only named then.
    """
    files = read_tokenizer(folder) if files is None else files
    ids, _, mask = padded(Tokenizer(files, folder)(sentences, limit))
    return ids, mask.astype(np.int64)
