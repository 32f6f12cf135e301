# SPDX-License-Identifier: Apache-2.0
"""A TensorFlow Lite file as a graph."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from octavo._files import open_file
from octavo._text import shown
from octavo._types import Array
from octavo.graph import Graph, Operator, Signature
from octavo.graph.kinds import KINDS
from octavo.io.file_bytes import FileBytes
from octavo.tflite.constants import Tensors, shape_of
from octavo.tflite.flatbuffer import FlatBuffer, Table
from octavo.tflite.folding import fold_constants
from octavo.tflite.schema import CONTROL_FLOW, FILE_VERSION, OPERATORS, OPTIONS, VERSIONS

_CUSTOM = "custom"


class ModelFile(NamedTuple):
    """What a TensorFlow Lite file holds.

    Attributes
    ----------
    graph : octavo.graph.Graph
        Its first subgraph, checked.
    shape_signatures : dict of int to tuple of int
        Of tensors whose size may vary: their shapes with -1 in such places.
    description : str
    metadata : dict of str to ndarray of uint8
        What tools have put into it beside the model.
    subgraphs : int
        How many it has; only the first runs here.
    other_signatures : tuple of str
        Keys of the signatures of the others.
    """

    graph: Graph
    shape_signatures: dict[int, tuple[int, ...]]
    description: str
    metadata: dict[str, Array]
    subgraphs: int
    other_signatures: tuple[str, ...]


def read(source: str | os.PathLike[str] | bytes | bytearray | memoryview) -> ModelFile:
    """Read a TensorFlow Lite file.

    Parameters
    ----------
    source : path or bytes
        The file, or what it holds.

    Returns
    -------
    ModelFile
        Constants look into memory that holds the file once; sparse ones, those of 4 bits and
        those that the file dequantizes are unpacked.

    Raises
    ------
    ValueError
        If it is no such file, contradicts itself, or has an operator or a type that octavo lacks:
        which one, and where.
    OSError
        If it cannot be read.
    """
    content, name = _content_of(source)
    buffer = FlatBuffer(content, name)
    model = buffer.root("Model")
    if model["version"] != FILE_VERSION:
        buffer.fail("version", f"expected {FILE_VERSION}, got {model['version']}")
    subgraphs = model["subgraphs"] or buffer.fail("subgraphs", "expected at least one, got none")
    first = subgraphs[0]
    tensors = Tensors(buffer, model["buffers"] or [])
    tables, signatures = first["tensors"] or [], model["signature_defs"] or []
    graph = Graph(
        [tensors.tensor(table) for table in tables],
        _operators(first, model["operator_codes"] or []),
        _indices(first, "inputs"),
        _indices(first, "outputs"),
        [_signature(one) for one in signatures if one["subgraph_index"] == 0],
        first["name"] or "",
    )
    _add_empty(graph)
    fold_constants(graph, tensors)
    try:
        graph.check()
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    shapes = {i: shape_of(table, "shape_signature") for i, table in enumerate(tables)}
    return ModelFile(
        graph,
        {i: shape for i, shape in shapes.items() if -1 in shape},
        model["description"] or "",
        _metadata(model, tensors),
        len(subgraphs),
        tuple(one["signature_key"] or "" for one in signatures if one["subgraph_index"]),
    )


def _content_of(source: Any) -> tuple[Array, str]:
    """Return the bytes, which nobody else can change, and what messages call them."""
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        file = FileBytes(path, open_file(path))
        content = np.empty(file.size, np.uint8)
        file.fill(content.data, 0)
        file.close()
        content.flags.writeable = False
        return content, str(path)
    if not isinstance(source, (bytes, bytearray, memoryview)):
        raise TypeError(f"source: expected a path or bytes, got {type(source).__name__}")
    return np.frombuffer(bytes(source), np.uint8), "model"


def _indices(table: Table, field: str) -> list[int]:
    found = table[field]
    return [] if found is None else [int(index) for index in found]


def _operators(subgraph: Table, codes: list[Table]) -> list[Operator]:
    buffer = subgraph.buffer
    kinds = [_kind(code) for code in codes]
    found, missing = [], Counter[str]()
    for table in subgraph["operators"] or []:
        number = table["opcode_index"]
        if number >= len(kinds):
            buffer.fail(table.where, f"expected one of {len(kinds)} operator codes, got {number}")
        kind, version = kinds[number]
        if kind in CONTROL_FLOW:
            buffer.fail(table.where, f"{kind} runs another subgraph, which octavo does not")
        if kind not in KINDS and kind != "densify":
            missing[kind] += 1
            continue
        if not 1 <= version <= VERSIONS[kind]:
            buffer.fail(
                table.where, f"expected {kind} up to version {VERSIONS[kind]}, got {version}"
            )
        inputs, outputs = _indices(table, "inputs"), _indices(table, "outputs")
        found.append(Operator(kind, tuple(inputs), tuple(outputs), _options(table, kind)))
    if missing:
        names = ", ".join(f"{kind} ({count}x)" for kind, count in sorted(missing.items()))
        buffer.fail("", f"octavo lacks operators of this file: {names}"[:1000])
    return found


def _kind(code: Table) -> tuple[str, int]:
    """Return the kind of an operator code and its version; a custom one's with its name."""
    # Files of before there were 127 operators have their number in the older field alone.
    number = max(code["builtin_code"], code["deprecated_builtin_code"])
    if not 0 <= number < len(OPERATORS):
        code.buffer.fail(
            code.where, f"expected a builtin code below {len(OPERATORS)}, got {number}"
        )
    kind = OPERATORS[number]
    if kind == _CUSTOM:
        kind = f"custom operator {shown(code['custom_code'])}"
    return kind, code["version"]


def _options(table: Table, kind: str) -> dict[str, Any]:
    """Return the options of an operator, with the schema's defaults."""
    if kind not in OPTIONS:
        return {}
    number, fields = OPTIONS[kind]
    given = table["builtin_options_type"]
    options = table.union("builtin_options", fields) if given else None
    if given not in (0, number):
        table.buffer.fail(table.where, f"expected options of type {number} for {kind}, got {given}")
    if options is None:
        return {name: field.absent for name, field in fields.items()}
    if unknown := options.unknown():
        table.buffer.fail(table.where, f"{kind} has options octavo does not know: {shown(unknown)}")
    return options.values()


def _signature(table: Table) -> Signature:
    inputs, outputs = (
        {one["name"] or "": int(one["tensor_index"]) for one in table[field] or []}
        for field in ("inputs", "outputs")
    )
    return Signature(table["signature_key"] or "", inputs, outputs)


def _add_empty(graph: Graph) -> None:
    """Give data to constants without elements, for which a file has no more than for results."""
    made = {*graph.inputs, *(index for one in graph.operators for index in one.outputs)}
    needed = {index for one in graph.operators for index in one.inputs} - made
    for index, tensor in enumerate(graph.tensors):
        if index in needed and 0 in tensor.shape and tensor.data is None:
            tensor.data = np.zeros(tensor.shape, tensor.dtype)


def _metadata(model: Table, tensors: Tensors) -> dict[str, Array]:
    found = {}
    for one in model["metadata"] or []:
        content = tensors.content(one["buffer"], one.where)
        found[one["name"] or ""] = np.zeros(0, np.uint8) if content is None else content
    return found
