# SPDX-License-Identifier: Apache-2.0
"""Writing graphs as ``.tflite`` files, by the tables of the schema."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from octavo._files import replaced_file
from octavo.graph import Graph, Operator, Tensor
from octavo.tflite.schema import (
    ENUMS,
    FILE_VERSION,
    IDENTIFIER,
    OPERATORS,
    OPTIONS,
    TABLES,
    Field,
)
from octavo.tflite.versions import RUNTIME, version_of

_ALIGNMENT = 16
"""Of constants: they are mapped and read in place."""

_MOST_BYTES = (1 << 31) - (1 << 24)
"""Of constants: a file addresses 2 GiB, and holds more than those."""

_PER_TENSOR = 512
"""About what a file holds of a tensor or an operator, beside its constants."""

Fields = dict[str, Any]


def save(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Write a graph as a ``.tflite`` file, whole or not at all.

    Parameters
    ----------
    graph : Graph
    path : str or os.PathLike
        What is there is replaced.

    Raises
    ------
    ImportError
        Without the package ``flatbuffers``.
    ValueError
        If it is no graph, see `Graph.check`, or has 2 GiB of constants.
    OSError
        If the file cannot be written.
    """
    content = _content(graph)
    with replaced_file(Path(path)) as file:
        file.write(content)


def to_bytes(graph: Graph) -> bytes:
    """Return what a ``.tflite`` file of a graph holds; parameters and errors as of `save`.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> from octavo.graph import Graph, Operator, Tensor
    >>> x, y = (Tensor(name, (1, 4), np.dtype(np.float32)) for name in "xy")
    >>> graph = Graph([x, y], [Operator("relu", (0,), (1,))], [0], [1])
    >>> octavo.tflite.to_bytes(graph)[4:8]
    b'TFL3'
    """
    return bytes(_content(graph))


def _content(graph: Graph) -> memoryview:
    if not isinstance(graph, Graph):
        raise TypeError(f"graph: expected an octavo.graph.Graph, got {type(graph).__name__}")
    graph.check()
    constants = sum(one.data.nbytes for one in graph.tensors if one.data is not None)
    if constants > _MOST_BYTES:
        raise ValueError(
            f"graph: expected at most {_MOST_BYTES} bytes of constants of a .tflite "
            f"file, got {constants}"
        )
    size = constants + _PER_TENSOR * (len(graph.tensors) + len(graph.operators) + 8)
    return _Tables(size).finished(_model(graph))


def _model(graph: Graph) -> Fields:
    """Return the root of a file as nested fields."""
    codes: dict[tuple[str, int], int] = {}
    for operator in graph.operators:
        codes.setdefault((operator.kind, version_of(graph, operator)), len(codes))
    # Buffer 0 is that of all tensors without data.
    buffers: list[Fields] = [{}]
    tensors = [_tensor(one, buffers) for one in graph.tensors]
    buffers.append({"data": RUNTIME.encode().ljust(_ALIGNMENT, b"\0")})
    subgraph = {
        "tensors": tensors,
        "inputs": graph.inputs,
        "outputs": graph.outputs,
        "operators": [_operator(graph, one, codes) for one in graph.operators],
        "name": graph.name or None,
    }
    signatures = [
        {
            "inputs": _named(one.inputs),
            "outputs": _named(one.outputs),
            "signature_key": one.key,
        }
        for one in graph.signatures
    ]
    return {
        "version": FILE_VERSION,
        "operator_codes": [_operator_code(*key) for key in codes],
        "subgraphs": [subgraph],
        "description": "octavo",
        "buffers": buffers,
        "metadata": [{"name": "min_runtime_version", "buffer": len(buffers) - 1}],
        "signature_defs": signatures or None,
    }


def _named(tensors: dict[str, int]) -> list[Fields]:
    return [{"name": name, "tensor_index": index} for name, index in tensors.items()]


def _operator_code(kind: str, version: int) -> Fields:
    number = OPERATORS.index(kind)
    return {
        # Readers from before there were more than 127 look here.
        "deprecated_builtin_code": min(number, 127),
        "version": version,
        "builtin_code": number,
    }


def _operator(graph: Graph, operator: Operator, codes: dict[tuple[str, int], int]) -> Fields:
    fields: Fields = {
        "opcode_index": codes[operator.kind, version_of(graph, operator)],
        "inputs": operator.inputs,
        "outputs": operator.outputs,
    }
    if operator.kind in OPTIONS:
        number, known = OPTIONS[operator.kind]
        options = {name: value for name, value in operator.options.items() if name in known}
        fields |= {"builtin_options_type": number, "builtin_options": (known, options)}
    return fields


def _tensor(tensor: Tensor, buffers: list[Fields]) -> Fields:
    fields: Fields = {
        "shape": tensor.shape,
        "type": tensor.dtype.name,
        "name": tensor.name,
        "is_variable": tensor.variable,
        "has_rank": True,
    }
    if tensor.data is not None:
        little = tensor.data.astype(tensor.dtype.newbyteorder("<"), copy=False)
        fields["buffer"] = len(buffers)
        buffers.append({"data": little.tobytes()})
    if tensor.quantization is not None:
        fields["quantization"] = {
            "scale": tensor.quantization.scale,
            "zero_point": tensor.quantization.zero_point,
            "quantized_dimension": tensor.quantization.axis,
        }
    return fields


class _Tables:
    """Tables as a flatbuffer has them: from the back to the front, what is pointed to first."""

    def __init__(self, size: int) -> None:
        try:
            import flatbuffers
        except ImportError:
            raise ImportError(
                "writing .tflite files needs the 'flatbuffers' package: pip install "
                "'octavo[tflite]'"
            ) from None
        self._builder: Any = flatbuffers.Builder(size)

    def finished(self, model: Fields) -> memoryview:
        """Return a file with this root."""
        builder = self._builder
        builder.Finish(self._table(TABLES["Model"], model), file_identifier=IDENTIFIER)
        return memoryview(builder.Bytes)[builder.Head() :]

    def _table(self, known: dict[str, Field], values: Fields) -> int:
        """Write a table; return where it is."""
        builder = self._builder
        slots = [
            (known[name], self._slot(known[name], value))
            for name, value in values.items()
            if value is not None
        ]
        builder.StartObject(1 + max((field.number for field in known.values()), default=-1))
        for field, value in slots:
            if _is_reference(field):
                builder.PrependUOffsetTRelativeSlot(field.number, value, 0)
            else:
                kind = "int8" if field.type in ENUMS else field.type
                prepend = getattr(builder, f"Prepend{kind.capitalize()}Slot")
                prepend(field.number, value, field.default)
        return int(builder.EndObject())

    def _slot(self, field: Field, value: Any) -> Any:
        """Return what a table holds of a field: a number, or the place where all of it is."""
        if field.is_vector:
            return self._vector(field.type, value)
        if field.type == "string":
            return self._builder.CreateString(value)
        if field.type == "union":
            return self._table(*value)
        if field.type in TABLES:
            return self._table(TABLES[field.type], value)
        if field.type in ENUMS:
            return ENUMS[field.type].index(value)
        return value

    def _vector(self, kind: str, values: Any) -> int:
        builder = self._builder
        if kind in TABLES:
            places = [self._table(TABLES[kind], one) for one in values]
            builder.StartVector(4, len(places), 4)
            for place in reversed(places):
                builder.PrependUOffsetTRelative(place)
            return int(builder.EndVector())
        if isinstance(values, bytes):
            builder.StartVector(1, len(values), _ALIGNMENT)
            builder.head -= len(values)
            builder.Bytes[builder.head : builder.head + len(values)] = values
            return int(builder.EndVector())
        return int(builder.CreateNumpyVector(np.asarray(values, kind)))


def _is_reference(field: Field) -> bool:
    return field.is_vector or field.type in TABLES or field.type in ("string", "union")
