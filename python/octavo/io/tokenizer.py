# SPDX-License-Identifier: Apache-2.0
"""A model folder's own tokenizer, run by the tokenizers library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from octavo._files import read_bytes
from octavo._text import decoded, lines_of, shown
from octavo.io.folder import parse_json

_FILE = "tokenizer.json"
_VOCABULARY = "vocab.txt"
_CONFIG = "tokenizer_config.json"


def read_tokenizer(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder that `Tokenizer` reads, by their names."""
    found = {}
    for name in (_FILE, _VOCABULARY, _CONFIG):
        with suppress(FileNotFoundError):
            found[name] = read_bytes(folder / name)
    return found


class Tokens(NamedTuple):
    """What became of a text, or of a pair of texts.

    Attributes
    ----------
    ids, types : list of int
        Token ids, and the segment of each token.
    is_cut : bool
        Whether the text was longer than the limit.
    """

    ids: list[int]
    types: list[int]
    is_cut: bool


def padded(
    rows: Sequence[Tokens],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return ids, types and mask of rows, as long as the longest; what pads is 0."""
    lengths = np.array([len(row.ids) for row in rows], np.int64)
    mask = np.arange(lengths.max(initial=0)) < lengths[:, None]
    ids, types = np.zeros(mask.shape, np.int64), np.zeros(mask.shape, np.int64)
    ids[mask] = [index for row in rows for index in row.ids]
    types[mask] = [index for row in rows for index in row.types]
    return ids, types, mask


class Tokenizer:
    """The tokenizer of a folder.

    Parameters
    ----------
    files : mapping of str to bytes
        The folder's side files by their names: ``tokenizer.json``, or BERT's ``vocab.txt``.
    where : str or os.PathLike
        The folder's name, for messages.

    Raises
    ------
    FileNotFoundError
        If it has neither file.
    ModuleNotFoundError
        If the tokenizers library is not installed.
    """

    def __init__(self, files: Mapping[str, bytes], where: Any) -> None:
        if _FILE not in files and _VOCABULARY not in files:
            others = sorted(name for name in files if "/" not in name and "config" not in name)
            beside = f" (there are {', '.join(others)})" if others else ""
            raise FileNotFoundError(f"{where}: no {_FILE} when the model was loaded{beside}")
        self._files, self._where = files, where
        self._name = _FILE if _FILE in files else _VOCABULARY

    def __call__(
        self, texts: Sequence[str], limit: int, second: Sequence[str] | None = None
    ) -> list[Tokens]:
        """Cut texts, or each with a second one behind it, into at most `limit` tokens.

        Raises
        ------
        TypeError, ValueError
            For a text that is no string or holds half a surrogate pair; the message names it.
        """
        check_texts(texts, "texts")
        pairs: Any = list(texts)
        if second is not None:
            check_texts(second, "texts")
            pairs = list(zip(texts, second, strict=True))
        with self._no_panic():
            found = self._opened().encode_batch(pairs)
        return [_shortened(one, limit) for one in found]

    def leading(self, prompt: str, limit: int) -> int:
        """Return how many tokens a prompt puts before those of the text behind it."""
        with self._no_panic():
            one = self._opened().encode(prompt)
        ends = one.special_tokens_mask
        return min(len(one.ids), limit) - (1 if ends and ends[-1] else 0)

    def _no_panic(self) -> AbstractContextManager[None]:
        return _no_panic(f"{self._where}: {self._name}")

    def _opened(self) -> Any:
        if _FILE in self._files:
            return _from_json(self._files[_FILE])
        raw = self._files.get(_CONFIG)
        config = {} if raw is None else parse_json(Path(_CONFIG), raw)
        lower = config.get("do_lower_case", True) is not False
        return _from_vocabulary(self._files[_VOCABULARY], lower)


@contextmanager
def _no_panic(where: str) -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, SystemExit, MemoryError, ModuleNotFoundError):
        raise
    except BaseException as error:  # the library's panics are no Exceptions
        raise ValueError(f"{where}: not a tokenizer: {shown(str(error))}") from None


def tokenizer_from(content: bytes, where: str) -> Any:
    """Return what the tokenizers library makes of a ``tokenizer.json``; `where` is for messages."""
    with _no_panic(where):
        return _library().Tokenizer.from_buffer(content)


def _shortened(found: Any, limit: int) -> Tokens:
    """Leave out the last tokens of the text, of two texts those of the longer one, beyond a limit.

    The library could do that, but it keeps what it cuts off, of two texts each piece of one beside
    each piece of the other.
    """
    ids, types = found.ids, found.type_ids
    if len(ids) <= limit:
        return Tokens(ids, types, False)
    texts = np.array([-1 if index is None else index for index in found.sequence_ids])
    first, second = np.flatnonzero(texts == 0), np.flatnonzero(texts == 1)
    added = np.flatnonzero(texts < 0)
    room = max(0, limit - len(added))
    less = min(len(first), len(second), room // 2)
    more = room - less
    kept_first, kept_second = (less, more) if len(first) <= len(second) else (more, less)
    kept = np.sort(np.concatenate([added, first[:kept_first], second[:kept_second]]))
    return Tokens([ids[place] for place in kept], [types[place] for place in kept], True)


def check_texts(texts: Sequence[str], name: str) -> None:
    """Refuse what is no string, or holds half a surrogate pair."""
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"{name}: item {index}: expected a string, got {type(text).__name__}")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{name}: item {index}: expected Unicode text, got half a surrogate pair at "
                f"{error.start}: {shown(text[error.start : error.start + 20])}"
            ) from None


def _library() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise ModuleNotFoundError(
            "sentences need the 'tokenizers' package: pip install 'octavo[models]'"
        ) from None
    return tokenizers


# Reading a vocabulary takes longer than a batch of sentences.
@lru_cache(maxsize=4)
def _from_json(content: bytes) -> Any:
    return _whole(_library().Tokenizer.from_buffer(content))


@lru_cache(maxsize=4)
def _from_vocabulary(content: bytes, lower: bool) -> Any:
    words = lines_of(decoded(content))
    if not words[-1]:
        words.pop()
    make = _library().BertWordPieceTokenizer
    return _whole(make({word: index for index, word in enumerate(words)}, lowercase=lower))


def _whole(tokenizer: Any) -> Any:
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
