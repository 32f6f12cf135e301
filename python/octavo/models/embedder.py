# SPDX-License-Identifier: Apache-2.0
"""Texts to vectors for libraries that send a function to other processes."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Iterable, Mapping, MutableMapping, Sized
from pathlib import Path
from typing import Any

import numpy as np

from octavo import runtime
from octavo._checks import integer
from octavo._text import shown
from octavo.io.hub import is_hub_id
from octavo.io.tokenizer import check_texts
from octavo.models.encoder import Encoder
from octavo.models.loader import load_encoder
from octavo.models.texts import list_of

_IDS = "input_ids"
_BESIDE_IDS = ("attention_mask", "token_type_ids")
_OPTIONS = ("prompt_name", "prompt", "normalize", "truncate_dim", "precision", "batch_tokens")

# One for all: what is pickled holds none, and a child of `fork` gets a free one.
_loading = threading.Lock()


def _renew_lock() -> None:
    global _loading
    _loading = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


class Embedder:
    """A function from texts, or from a batch with a column of texts, to vectors.

    It is pickled as its arguments, a few hundred bytes, and loads the model when it is first
    called, each copy once: ``datasets.map``, Ray Data's ``map_batches``, Dask's ``map_partitions``
    and Spark's ``predict_batch_udf`` take it as it is.  Threads may share one.

    Parameters
    ----------
    path : str or os.PathLike
        A model folder or a hub's ``"owner/name"``, as `load` takes it.  The processes that call the
        embedder need to see it.
    column : str
        The column of a batch that holds the texts.
    output_column : str
        What the column of vectors is called.
    threads : int, optional
        What `octavo.runtime.set_num_threads` gets in the process that loads the model. By default
        nothing is set: a call takes all CPUs that the process may use.
    revision : str, optional
        Branch, tag or commit of a hub's model.
    shared : bool
        Let the processes of one machine have the weights in common; see `load`.
    **options
        As for `Encoder.encode`: prompt_name, prompt, normalize, truncate_dim, precision,
        batch_tokens.

    Raises
    ------
    TypeError
        For an option that `Encoder.encode` or this does not have.

    Examples
    --------
    >>> import pickle
    >>> from octavo.models import Embedder
    >>> embedder = Embedder("path/to/model", column="sentence", normalize=True)
    >>> pickle.loads(pickle.dumps(embedder)).column
    'sentence'
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        column: str = "text",
        output_column: str = "embedding",
        threads: int | None = None,
        revision: str | None = None,
        shared: bool = False,
        **options: Any,
    ) -> None:
        for name in options:
            if name not in _OPTIONS:
                raise TypeError(f"{name}: no such option; there are {', '.join(_OPTIONS)}")
        # Workers have another current folder.
        self.path = os.fspath(path) if is_hub_id(path) else str(Path(path).absolute())
        self.column, self.output_column = column, output_column
        self.threads = None if threads is None else integer(threads, "threads", 1)
        self.revision, self.shared = revision, shared
        self.options = {name: options[name] for name in sorted(options)}
        self._model: Encoder | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": None}

    def __repr__(self) -> str:
        return f"Embedder({self.path!r}, column={self.column!r})"

    @property
    def model(self) -> Encoder:
        """The model; the first call in a process loads it."""
        model = self._model
        if model is not None:
            return model
        with _loading:
            if self._model is None:
                if self.threads is not None:
                    runtime.set_num_threads(self.threads)
                self._model = load_encoder(self.path, revision=self.revision, shared=self.shared)
            return self._model

    def __call__(self, rows: Any) -> Any:
        """Compute the vectors of texts, or add them to a batch.

        Parameters
        ----------
        rows : sequence of str, str, or mapping of str to sequences
            Texts, or a batch by its columns: `column` of texts, or without one "input_ids" and
            perhaps "attention_mask" and "token_type_ids", of rows that may differ in length.  A
            pandas Series or DataFrame stands for either.

        Returns
        -------
        numpy.ndarray, shape (rows, size), or what came with the vectors as `output_column`
            An array as `Encoder.encode` gives it.  Of a batch, a copy that shares the other
            columns.  In a DataFrame, each row's vector is an array of its own.

        Raises
        ------
        TypeError, ValueError
            For an item that is no text; the message names the column. If a batch has neither
            column, or its token ids and masks differ in length. As `load` and `Encoder.encode`.
        """
        is_frame = hasattr(rows, "assign")  # pandas, or what acts like it
        if not is_frame and not isinstance(rows, Mapping):
            return self._encode(rows, "rows")
        if self.column in rows:
            vectors = self._encode(rows[self.column], f"column {self.column!r}")
        elif _IDS in rows:
            vectors = self.model.encode(_even_ids(rows), **self.options)
        else:
            columns = [str(name) for name in rows]
            raise ValueError(
                f"column: expected {self.column!r} or {_IDS!r} in the batch, got {shown(columns)}"
            )
        if is_frame:
            return rows.assign(**{self.output_column: list(vectors)})
        # A copy of its kind: the batches of `datasets` know which columns are as they were.
        found = copy.copy(rows) if isinstance(rows, MutableMapping) else dict(rows)
        found[self.output_column] = vectors
        return found

    def _encode(self, texts: Any, what: str) -> Any:
        if not isinstance(texts, str):
            texts = list_of(texts, what)
            check_texts(texts, what)
        return self.model.encode(texts, **self.options)


def _even_ids(rows: Any) -> dict[str, Any]:
    """Return token ids and what goes with them as arrays, padded to the longest row."""
    columns = {name: _rows_of(rows[name], name) for name in (_IDS, *_BESIDE_IDS) if name in rows}
    lengths = np.array([len(row) for row in columns[_IDS]], np.int64)
    inside = np.arange(lengths.max(initial=0)) < lengths[:, None]
    found = {"attention_mask": inside}
    for name, values in columns.items():
        if [len(row) for row in values] != lengths.tolist():
            raise ValueError(f"column {name!r}: expected rows as long as those of {_IDS!r}")
        flat = np.concatenate([np.zeros(0, np.int64), *map(np.asarray, values)])
        found[name] = np.zeros(inside.shape, flat.dtype)
        found[name][inside] = flat
    return found


def _rows_of(column: Any, name: str) -> list[Any]:
    if not isinstance(column, Iterable):
        raise TypeError(f"column {name!r}: expected rows, got {type(column).__name__}")
    found = list(column)
    for place, row in enumerate(found):
        if not isinstance(row, Sized):
            kind = type(row).__name__
            raise TypeError(f"column {name!r}: row {place}: expected a list of numbers, got {kind}")
    return found
