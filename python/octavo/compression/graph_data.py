# SPDX-License-Identifier: Apache-2.0
"""Calibration data of graphs: whatever holds it, as calls with arrays that fit the inputs."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from octavo import _checks
from octavo._text import shown
from octavo._types import Array
from octavo.compression.graph_run import Feed
from octavo.data.npz import read_npz
from octavo.data.sources import CalibrationData, is_parts, source_of
from octavo.graph import Graph, Tensor

MOST_ITEMS = 100_000
"""More are taken for a source without an end."""


class Feeds:
    """What a graph is called with, call by call; each iteration is a pass over the data.

    Parameters
    ----------
    graph : Graph
    data
        Anything that `octavo.data.source_of` takes, or a dict of arrays, an array, or an ``.npz``
        file. An item is a list or tuple with an array for each input, a dict of them by the names
        of the inputs or of a signature, a pair of a signature's key and such a dict, or an array if
        there is one input. Arrays of several times the batch of an input, or without its axis,
        become calls of that batch.
    name : str
        Of the argument, for messages.
    channels_first : collection of int
        Inputs, by their places, of which images come as (batch, channels, height, width).

    Raises
    ------
    TypeError, ValueError
        Also while they are read; the message names the item and the input.
    """

    def __init__(
        self,
        graph: Graph,
        data: CalibrationData,
        name: str,
        channels_first: Collection[int] = (),
    ) -> None:
        self._inputs = [graph.tensors[index] for index in graph.inputs]
        self._names = _names(graph)
        self._keys = [one.key for one in graph.signatures]
        self._name, self._channels_first = name, channels_first
        if isinstance(data, (str, os.PathLike)):
            data = _file(Path(data), len(self._inputs), name)
        if isinstance(data, Mapping) or _checks.is_typed(data):
            data = [data]
        self._source = source_of(data, name)
        # What can be read only once is kept.
        self._held: list[Feed] | None = list(self._read()) if self._source.one_shot else None

    def __iter__(self) -> Iterator[Feed]:
        """Begin a pass."""
        return self._read() if self._held is None else iter(self._held)

    def _read(self) -> Iterator[Feed]:
        items = enumerate(self._source.open())
        first = next(items, None)
        if first is None:
            raise ValueError(f"{self._name}: expected at least one input, got none")
        for index, item in chain([first], items):
            if index == MOST_ITEMS:
                raise ValueError(
                    f"{self._name}: expected at most {MOST_ITEMS} items, got more; "
                    "a source must come to an end"
                )
            yield from self._calls(item, f"{self._name}[{index}]")

    def _calls(self, item: Any, where: str) -> Iterator[Feed]:
        arrays = self._arrays(item, where)
        parts = [
            _in_batches(
                array,
                tensor,
                f"{where}: input {shown(tensor.name)}",
                place in self._channels_first,
            )
            for place, (array, tensor) in enumerate(zip(arrays, self._inputs, strict=True))
        ]
        counts = {len(part) for part in parts}
        if len(counts) > 1:
            shapes = ", ".join(str(np.shape(array)) for array in arrays)
            raise ValueError(
                f"{where}: expected inputs of as many samples each, got shapes {shapes}"
            )
        return zip(*parts, strict=True)

    def _arrays(self, item: Any, where: str) -> list[Any]:
        """Return what an item has for each input."""
        if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str):
            key, item = item
            if key not in self._keys:
                raise ValueError(
                    f"{where}: expected a signature of {shown(self._keys)}, got {shown(key)}"
                )
        if isinstance(item, Mapping):
            return self._by_name(item, where)
        parts = list(item) if is_parts(item) else [item]
        if len(parts) != len(self._inputs):
            names = ", ".join(shown(tensor.name) for tensor in self._inputs)
            raise ValueError(
                f"{where}: expected {len(self._inputs)} arrays (of {names}), got {len(parts)}"
            )
        return parts

    def _by_name(self, item: Mapping[Any, Any], where: str) -> list[Any]:
        found: dict[int, Any] = {}
        for key, value in item.items():
            place = self._names.get(key)
            if place is None or place in found:
                names = ", ".join(shown(name) for name in self._names)
                raise ValueError(f"{where}: expected inputs of {names}, got {shown(key)}")
            found[place] = value
        for place, tensor in enumerate(self._inputs):
            if place not in found:
                raise ValueError(
                    f"{where}: expected an array of input {shown(tensor.name)}, got none"
                )
        return [found[place] for place in range(len(self._inputs))]


def _names(graph: Graph) -> dict[str, int]:
    """Return the places of inputs by what they are called: by tensors, and by signatures."""
    places = {index: place for place, index in enumerate(graph.inputs)}
    names = {graph.tensors[index].name: place for index, place in places.items()}
    for signature in graph.signatures:
        names |= {name: places[index] for name, index in signature.inputs.items()}
    return names


def _file(path: Path, inputs: int, name: str) -> Any:
    if path.suffix != ".npz":
        raise ValueError(f"{name}: expected an .npz file of arrays, got {path}")
    arrays = read_npz(path)
    if len(arrays) == inputs == 1 or all(key == f"arr_{i}" for i, key in enumerate(arrays)):
        return [tuple(arrays.values())]
    return arrays


def _in_batches(value: Any, tensor: Tensor, name: str, channels_first: bool) -> list[Array]:
    """Return an array as arrays of an input's shape."""
    array = _typed(value, tensor.dtype, name)
    shape, given = tensor.shape, array.shape
    if array.ndim == len(shape) - 1:
        array = array[None]
    wanted = shape
    if channels_first:
        wanted = (shape[0], shape[3], *shape[1:3])
        array = np.moveaxis(array, 1, 3) if array.ndim == 4 else array
    if array.shape == shape:
        return [np.ascontiguousarray(array)]
    if array.ndim == len(shape) and array.shape[1:] == shape[1:] and shape[0] > 0:
        count, rest = divmod(len(array), shape[0])
        if count and not rest:
            return [np.ascontiguousarray(part) for part in np.split(array, count)]
    raise ValueError(f"{name}: expected shape {wanted}, or several of that batch, got {given}")


def _typed(value: Any, dtype: np.dtype[Any], name: str) -> Array:
    """Return an array in the type of an input."""
    if dtype.kind == "f":
        array = _checks.as_float32(value, name, float64=True)
        _checks.check_finite(array, name)
        return array.astype(dtype, copy=False)
    array = _checks.as_array(value, name)
    if dtype.kind == "b" and array.dtype.kind == "b":
        return array
    ids, limits = _checks.as_ids(array, name), np.iinfo(dtype)
    if ids.size and not limits.min <= ids.min() <= ids.max() <= limits.max:
        raise ValueError(f"{name}: expected values of {dtype}, got {ids.min()} to {ids.max()}")
    return ids.astype(dtype)
