# SPDX-License-Identifier: Apache-2.0
"""The interpreter that TensorFlow Lite taught, call for call."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from octavo import _checks, runtime
from octavo._text import shown
from octavo._types import Array
from octavo.graph import Quantization, Session, Tensor
from octavo.tflite.reader import read
from octavo.tflite.signature import Details, SignatureRunner


class Interpreter:
    """Runs a TensorFlow Lite file, with the calls of ``tf.lite.Interpreter``.

    Parameters
    ----------
    model_path : path, optional
    model_content : bytes, optional
        The file, or what it holds.
    experimental_delegates : None
        There are none here.
    num_threads : int, optional
        Threads that `invoke` may use; by default as many as `octavo.runtime` says. Unlike
        TensorFlow Lite's, results do not depend on it.
    experimental_preserve_all_tensors : bool
        Keep what each operator makes, for `get_tensor`; nothing is fused then.

    Raises
    ------
    ValueError
        If it is no such file, contradicts itself, or has an operator or a type that octavo lacks.

    Examples
    --------
    >>> import octavo
    >>> interpreter = octavo.tflite.Interpreter(model_path="x.tflite")  # doctest: +SKIP
    >>> interpreter.allocate_tensors()  # doctest: +SKIP
    >>> interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)  # doctest: +SKIP
    >>> interpreter.invoke()  # doctest: +SKIP
    >>> interpreter.get_tensor(interpreter.get_output_details()[0]["index"])  # doctest: +SKIP
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str] | None = None,
        model_content: bytes | None = None,
        experimental_delegates: Sequence[Any] | None = None,
        num_threads: int | None = None,
        *,
        experimental_preserve_all_tensors: bool = False,
    ) -> None:
        source = model_path if model_content is None else model_content
        if source is None or (model_path is not None and model_content is not None):
            raise ValueError("expected model_path or model_content, got both or neither")
        if experimental_delegates:
            raise ValueError("experimental_delegates: expected none, octavo runs on CPUs alone")
        if num_threads is not None:
            _checks.integer(num_threads, "num_threads", 1)
        file = read(source)
        graph = file.graph
        if experimental_preserve_all_tensors:
            made = [index for one in graph.operators for index in one.outputs]
            graph = replace(graph, outputs=list(dict.fromkeys([*graph.outputs, *made])))
        self._ends, self._graph, self._threads = file.graph, graph, num_threads
        self._signature_shapes = file.shape_signatures
        self._other_signatures = file.other_signatures
        self._shapes = [tensor.shape for tensor in graph.tensors]
        self._asked = {index: self._shapes[index] for index in graph.inputs}
        self._session: Session | None = None
        self._values: dict[int, Array] = {}

    def allocate_tensors(self) -> None:
        """Make room for all tensors, of the shapes that inputs have now.

        Raises
        ------
        ValueError
            If an operator does not take them.
        """
        if self._values:
            return
        if self._session is None:
            self._session = Session(self._graph, self._asked)
        else:
            self._session.resize(self._asked)
        tensors = self._graph.tensors
        self._shapes = [self._session.shape(index) for index in range(len(tensors))]
        self._values = {
            index: np.zeros(self._shapes[index], tensors[index].dtype)
            for index in (*self._graph.inputs, *self._graph.outputs)
        }

    def get_input_details(self) -> list[Details]:
        """Return a dict for each input: name, index, shape, dtype, quantization, ..."""
        return [self._details(index) for index in self._ends.inputs]

    def get_output_details(self) -> list[Details]:
        """Return a dict for each output, as `get_input_details` does for inputs."""
        return [self._details(index) for index in self._ends.outputs]

    def get_tensor_details(self) -> list[Details]:
        """Return a dict for each tensor, as `get_input_details` does for inputs."""
        return [self._details(index) for index in range(len(self._graph.tensors))]

    def resize_tensor_input(
        self, input_index: int, tensor_size: Sequence[int], strict: bool = False
    ) -> None:
        """Let an input have another shape, from the next `allocate_tensors` on.

        Parameters
        ----------
        input_index : int
            ``index`` of its details.
        tensor_size : sequence of int
        strict : bool
            Whether only sizes that its ``shape_signature`` has as -1 may change.
        """
        index = self._input(input_index)
        shape = tuple(_checks.integer(size, "tensor_size", 0) for size in tensor_size)
        if strict:
            foreseen = self._signature_shapes.get(index, self._graph.tensors[index].shape)
            if len(shape) != len(foreseen) or any(
                size != wanted for size, wanted in zip(shape, foreseen, strict=True) if wanted >= 0
            ):
                raise ValueError(f"tensor_size: expected {foreseen}, got {shape}")
        if shape != self._asked[index]:
            self._asked[index] = shape
            self._values = {}

    def set_tensor(self, tensor_index: int, value: Any) -> None:
        """Copy a value into an input.

        Parameters
        ----------
        tensor_index : int
            ``index`` of its details.
        value : array_like
            Of the input's type and shape.
        """
        index = self._input(tensor_index)
        self._need_room()
        place, name = self._values[index], shown(self._graph.tensors[index].name)
        array = _checks.as_array(value, "value")
        if array.dtype != place.dtype:
            raise ValueError(f"value: expected {place.dtype} for {name}, got {array.dtype}")
        if array.shape != place.shape:
            raise ValueError(f"value: expected shape {place.shape} for {name}, got {array.shape}")
        place[...] = array

    def invoke(self) -> None:
        """Run the model on what inputs hold."""
        session = self._need_room()
        threads = runtime.get_num_threads()
        try:
            if self._threads is not None:
                runtime.set_num_threads(self._threads)
            results = session(*(self._values[index] for index in self._graph.inputs))
        finally:
            runtime.set_num_threads(threads)
        self._values.update(zip(self._graph.outputs, results, strict=True))

    def get_tensor(self, tensor_index: int) -> Array:
        """Return a copy of an input, an output or a constant."""
        return self._value(self._index(tensor_index)).copy()

    def tensor(self, tensor_index: int) -> Callable[[], Array]:
        """Return a function that returns what an input or an output holds, not a copy.

        What is written into an input's array is what `invoke` takes.
        """
        index = self._index(tensor_index)
        return lambda: self._value(index)

    def get_signature_list(self) -> dict[str, dict[str, list[str]]]:
        """Return the names of inputs and outputs for each signature."""
        return {
            one.key: {"inputs": [*one.inputs], "outputs": [*one.outputs]}
            for one in self._graph.signatures
        }

    def get_signature_runner(self, signature_key: str | None = None) -> SignatureRunner:
        """Return a function of a signature's inputs by name.

        Parameters
        ----------
        signature_key : str, optional
            Which one, if there is not exactly one.
        """
        found = {one.key: one for one in self._graph.signatures}
        if signature_key is None and len(found) == 1:
            (signature_key,) = found
        if signature_key in self._other_signatures:
            raise ValueError(
                f"signature_key: {shown(signature_key)} is another subgraph's; only the first runs"
            )
        if signature_key not in found:
            raise ValueError(
                f"signature_key: expected one of {shown([*found])}, got {shown(signature_key)}"
            )
        return SignatureRunner(self, found[signature_key])

    def _need_room(self) -> Session:
        if self._session is None or not self._values:
            raise RuntimeError("expected allocate_tensors() first")
        return self._session

    def _index(self, value: int) -> int:
        return _checks.integer(value, "tensor_index", 0, len(self._graph.tensors) - 1)

    def _input(self, value: int) -> int:
        index = self._index(value)
        if index not in self._graph.inputs:
            raise ValueError(f"expected an input, one of {self._graph.inputs}, got {index}")
        return index

    def _value(self, index: int) -> Array:
        data = self._graph.tensors[index].data
        if data is not None:
            return data
        self._need_room()
        if index not in self._values:
            raise ValueError(
                f"tensor_index: expected an input, an output or a constant, got {index}; others are"
                " kept with experimental_preserve_all_tensors=True"
            )
        return self._values[index]

    def _details(self, index: int) -> Details:
        tensor = self._graph.tensors[index]
        shape = self._shapes[index]
        return {
            "name": tensor.name,
            "index": index,
            "shape": np.array(shape, np.int32),
            "shape_signature": np.array(self._signature_shapes.get(index, shape), np.int32),
            "dtype": tensor.dtype.type,
            **_quantization_details(tensor),
            "sparsity_parameters": {},
        }


def _quantization_details(tensor: Tensor) -> Details:
    codes = tensor.quantization or Quantization(np.zeros(0, np.float32), np.zeros(0, np.int64))
    one = codes.scale.size == 1
    return {
        "quantization": (float(codes.scale[0]), int(codes.zero_point[0])) if one else (0.0, 0),
        "quantization_parameters": {
            "scales": codes.scale,
            "zero_points": codes.zero_point.astype(np.int32),
            "quantized_dimension": codes.axis,
        },
    }
