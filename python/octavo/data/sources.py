# SPDX-License-Identifier: Apache-2.0
"""Reading items out of whatever holds calibration data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import signature
from typing import Any, NamedTuple

from octavo import _checks

CalibrationData = Any
"""What `octavo.compress` takes as calibration data; see there."""


class Dataset:
    """Calibration data whose items are turned into inputs by a function.

    Parameters
    ----------
    source : iterable, callable, or object with ``get_next()``
        Anything `octavo.compress` takes as calibration data but files and single batches: a list,
        a PyTorch ``DataLoader``, a function that returns a generator, ...
    transform_fn : callable, optional
        Gets an item and returns what the model is called with: a sentence, input_ids, or a dict or
        tuple of them.

    Examples
    --------
    >>> import octavo
    >>> rows = [("first sentence", 1), ("another one", 0)]
    >>> list(octavo.data.Dataset(rows, lambda row: row[0]))
    ['first sentence', 'another one']
    """

    def __init__(self, source: Any, transform_fn: Callable[[Any], Any] | None = None) -> None:
        if transform_fn is not None and not callable(transform_fn):
            kind = _checks.describe(transform_fn)
            raise TypeError(f"transform_fn: expected a function, got {kind}")
        self._source = source_of(source, "source")
        self._transform = transform_fn

    def __iter__(self) -> Iterator[Any]:
        """Begin a pass over the items."""
        items = self._source.open()
        return items if self._transform is None else map(self._transform, items)

    @property
    def one_shot(self) -> bool:
        """Whether the source can be read only once, as a generator can."""
        return self._source.one_shot


class Source(NamedTuple):
    """How to begin a pass over items, and whether there is only one."""

    open: Callable[[], Iterator[Any]]
    one_shot: bool


def source_of(data: Any, name: str = "calibration") -> Source:
    """Return how to read items: iterables, callables, objects with ``get_next()``."""
    if isinstance(data, Dataset):
        return Source(lambda: iter(data), data.one_shot)
    if callable(getattr(data, "get_next", None)):
        reader = _Reader(data)
        return Source(reader.open, not callable(getattr(data, "rewind", None)))
    if hasattr(data, "__iter__") and not isinstance(data, (str, bytes, bytearray)):
        items = iter(data)
        return Source(lambda: iter(data), items is data)
    if callable(data):
        return Source(lambda: _called(data, name), False)
    raise TypeError(
        f"{name}: expected a file, sentences, batches of inputs, or a function that yields them, "
        f"got {_checks.describe(data)}"
    )


class _Reader:
    """Passes over an object in the style of ONNX Runtime's ``CalibrationDataReader``."""

    def __init__(self, data: Any) -> None:
        self._data = data
        self._begun = False

    def open(self) -> Iterator[Any]:
        if self._begun:
            self._data.rewind()
        self._begun = True
        return iter(self._data.get_next, None)


def _called(data: Callable[[], Any], name: str) -> Iterator[Any]:
    try:
        signature(data).bind()
    except TypeError as error:
        raise TypeError(f"{name}: expected a function without arguments: {error}") from None
    except ValueError:  # of builtin functions nothing is known
        pass
    items = data()
    if not hasattr(items, "__iter__") or isinstance(items, (str, bytes)):
        kind = _checks.describe(items)
        raise TypeError(f"{name}: expected a function that yields inputs, it returned {kind}")
    return iter(items)


def is_parts(item: Any) -> bool:
    """Whether an item is several inputs: a tuple, or a list of arrays."""
    if isinstance(item, tuple):
        return True
    return isinstance(item, list) and bool(item) and all(_is_array(part) for part in item)


def _is_array(part: Any) -> bool:
    return _checks.is_typed(part) and getattr(part, "ndim", 1) > 0
