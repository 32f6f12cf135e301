# SPDX-License-Identifier: Apache-2.0
"""A model of a TensorFlow Lite file that is called like a function."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from octavo import _checks
from octavo._text import shown
from octavo._types import Array
from octavo.graph import Quantization, Session, Signature
from octavo.tflite.reader import ModelFile, read

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class TensorInfo:
    """An input or an output of a model.

    Attributes
    ----------
    name : str
    index : int
        Of the tensor in the file.
    shape : tuple of int
        With -1 for sizes that may vary.
    dtype : numpy.dtype
    quantization : octavo.graph.Quantization or None
        What codes stand for.
    """

    name: str
    index: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    quantization: Quantization | None

    def __str__(self) -> str:
        """Return name, shape and type."""
        return f"{self.name} {self.shape} {self.dtype}"


class Model:
    """What `load` returns: call it with arrays.

    Parameters
    ----------
    file : ModelFile
        What `read` has found.

    Attributes
    ----------
    inputs, outputs : list of TensorInfo
    signatures : list of octavo.graph.Signature
        Other names of the same.
    """

    def __init__(self, file: ModelFile) -> None:
        graph = file.graph
        self._graph, self._session = graph, Session(graph)
        self._lock = threading.Lock()
        self._shapes = {index: graph.tensors[index].shape for index in graph.inputs}
        self.inputs, self.outputs = (
            [tensor_info(file, index) for index in indices]
            for indices in (graph.inputs, graph.outputs)
        )
        self.signatures: list[Signature] = graph.signatures
        self._names = {one.name: one.index for one in self.inputs}
        for signature in graph.signatures:
            self._names |= signature.inputs

    def __call__(self, *arrays: Any, **named: Any) -> Array | tuple[Array, ...]:
        """Run the model; calls from several threads wait for each other.

        Parameters
        ----------
        *arrays : array_like
            All inputs in their order,
        **named : array_like
            or by the names of tensors or of a signature. Types are not converted. Sizes that
            `inputs` has as -1 may be any; the model is made ready anew where they change.

        Returns
        -------
        ndarray or tuple of ndarray
            The output, or all of them where there are several.

        Raises
        ------
        TypeError
            If an array has another type, or the number of inputs or a name is wrong.
        ValueError
            If a shape does not fit.
        """
        given = self._checked(arrays, named)
        shapes = {index: array.shape for index, array in given.items()}
        with self._lock:  # another thread may want other shapes
            if shapes != self._shapes:
                self._resize(shapes)
            results = self._session(*given.values())
        return results[0] if len(results) == 1 else results

    def resize(self, shapes: Mapping[str, Sequence[int]]) -> None:
        """Let inputs have other shapes, also such as the file does not foresee.

        Parameters
        ----------
        shapes : mapping of str to sequence of int
            By the names of inputs.

        Raises
        ------
        ValueError
            If an operator does not take them.
        """
        asked = {self._index(name): tuple(shape) for name, shape in shapes.items()}
        with self._lock:
            self._resize({**self._shapes, **asked})
        self.inputs = [replace(one, shape=asked.get(one.index, one.shape)) for one in self.inputs]
        self.outputs = [replace(one, shape=self._session.shape(one.index)) for one in self.outputs]

    def __repr__(self) -> str:
        """Return the names, shapes and types of inputs and outputs."""
        ends = (", ".join(map(str, those)) for those in (self.inputs, self.outputs))
        return f"<{type(self).__name__} {' -> '.join(ends)}>"

    def _resize(self, shapes: dict[int, tuple[int, ...]]) -> None:
        self._session.resize(shapes)
        self._shapes = shapes

    def _index(self, name: str) -> int:
        if name not in self._names:
            raise TypeError(f"expected names {shown([*self._names])}, got {shown(name)}")
        return self._names[name]

    def _checked(self, arrays: tuple[Any, ...], named: dict[str, Any]) -> dict[int, Array]:
        """Return the inputs by index, all of them and nothing else."""
        by_index = dict(zip((one.index for one in self.inputs), arrays, strict=False))
        for name, value in named.items():
            if self._index(name) in by_index:
                raise TypeError(f"{name}: expected it once, got it twice")
            by_index[self._index(name)] = value
        if len(arrays) > len(self.inputs) or len(by_index) < len(self.inputs):
            raise TypeError(
                f"expected {len(self.inputs)} inputs ({', '.join(map(str, self.inputs))}), got"
                f" {len(arrays) + len(named)}"
            )
        return {one.index: _fitting(by_index[one.index], one) for one in self.inputs}


def _fitting(value: Any, info: TensorInfo) -> Array:
    """Return an array of an input's type and shape."""
    array = _checks.as_array(value, info.name)
    if array.dtype != info.dtype:
        raise TypeError(f"{info.name}: expected {info.dtype}, got {array.dtype}")
    _checks.check_shape(array, tuple(None if n < 0 else n for n in info.shape), info.name)
    return array


def tensor_info(file: ModelFile, index: int) -> TensorInfo:
    """Describe a tensor of a file."""
    tensor = file.graph.tensors[index]
    shape = file.shape_signatures.get(index, tensor.shape)
    return TensorInfo(tensor.name, index, shape, tensor.dtype, tensor.quantization)


def load(source: str | os.PathLike[str] | bytes) -> Model:
    """Load a TensorFlow Lite file, to be called like a function.

    Parameters
    ----------
    source : path or bytes
        The file, or what it holds.

    Returns
    -------
    Model
        ``model(x)`` runs it.

    Raises
    ------
    ValueError
        If it is no such file, contradicts itself, or has an operator or a type that octavo lacks.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import octavo
    >>> model = octavo.tflite.load("face_detection.tflite")  # doctest: +SKIP
    >>> model  # doctest: +SKIP
    <Model input (1, 128, 128, 3) float32 -> regressors (1, 896, 16) float32, classificators ...>
    >>> boxes, scores = model(image)  # doctest: +SKIP
    """
    return Model(read(source))
