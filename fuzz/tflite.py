# SPDX-License-Identifier: Apache-2.0
"""The target of TensorFlow Lite files: their tables, the numbers in them, and where they point.

What they mean is read a second time by the package `flatbuffers` and LiteRT's own tables, where
those are there.
"""

from __future__ import annotations

import copy
import importlib.util
import math
import random
from typing import TYPE_CHECKING, Any

import numpy as np

from fuzz.engine import Target, Unknown
from fuzz.mutate import LARGEST, Files, change_bytes
from octavo import graph, tflite
from octavo.tflite.schema import ENUMS, OPERATORS, OPTIONS
from tests.support.tflite_files import MODELS, tflite_bytes

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "x.tflite"
# Of all tensors of a graph that is also run.
_MOST_ELEMENTS = 1 << 16
_NUMBERS = (
    *(0, 1, 2, 3, 4, 5, 6, 7, 8, 15, 16, 64, 127, 128, 255, 256, 4096, 65_535, 65_536),
    *(-1, -2, -8, -128, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1),
)
_FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e38, np.inf, -np.inf, np.nan)
_WORDS = sorted({word for words in ENUMS.values() for word in words})


def _seeds(_: Path) -> list[Files]:
    return [{_NAME: model().bytes()} for model in MODELS.values()]


def _change(rng: random.Random, files: Files) -> Files:
    kind = rng.random()
    if kind < 0.25:
        return {_NAME: change_bytes(rng, files[_NAME])[:LARGEST]}
    if kind < 0.5:
        return {_NAME: _change_words(rng, files[_NAME])}
    model = copy.deepcopy(rng.choice(list(MODELS.values()))().values)
    try:
        for _ in range(rng.choice((1, 1, 2, 3))):
            _change_values(rng, model)
        return {_NAME: tflite_bytes(model)[:LARGEST]}
    except Exception:  # what no file can say
        return {_NAME: _change_words(rng, files[_NAME])}


def _change_words(rng: random.Random, data: bytes) -> bytes:
    """Change offsets, lengths and numbers, which lie at multiples of their size."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        width = rng.choice((2, 4, 4, 8))
        place = rng.randrange(max(1, len(data) // width)) * width
        old = int.from_bytes(changed[place : place + width], "little")
        near = (old + width, old - width, old + 1, old - 1, old ^ (1 << rng.randrange(8 * width)))
        number = rng.choice((*near, rng.choice(_NUMBERS), rng.randrange(len(data) + 1)))
        changed[place : place + width] = (number % (1 << 8 * width)).to_bytes(width, "little")
    return bytes(changed[: len(data)])


def _change_values(rng: random.Random, model: Any) -> None:
    """Change one value of a model's tables: a number, a vector, a table, or which table it is."""
    places: list[tuple[Any, Any]] = []
    _collect(model, places)
    holder, key = rng.choice(places)
    old, kind = holder[key], rng.randrange(8)
    if kind == 0:
        del holder[key]
    elif kind == 1:
        other, name = rng.choice(places)
        holder[key] = copy.deepcopy(other[name])
    elif kind == 2 and isinstance(holder, list):
        holder.insert(rng.randrange(len(holder) + 1), copy.deepcopy(old))
    elif key in ("builtin_code", "deprecated_builtin_code"):
        holder[key] = rng.randrange(len(OPERATORS) + 2)
    elif isinstance(old, tuple) and len(old) == 2 and isinstance(old[0], str):
        name = rng.choice([*OPTIONS, "Uint8Vector", "Int32Vector"])
        holder[key] = rng.choice(((name, old[1]), (name, {}), (old[0], {})))
    elif isinstance(old, str):
        holder[key] = rng.choice((*_WORDS, "", old * 2, "é\0", b"\xff\xfe"))
    elif isinstance(old, (bool, int, float)):
        holder[key] = rng.choice((*_NUMBERS, old + 1, old - 1, *_FLOATS[:4]))
    elif not isinstance(old, (dict, bytes)) and not any(isinstance(one, dict) for one in old):
        holder[key] = _changed_vector(rng, np.asarray(old))


def _changed_vector(rng: random.Random, old: Any) -> Any:
    kind = rng.randrange(6)
    if kind == 0:
        return old[: rng.randrange(len(old) + 1)]
    if kind == 1:
        return np.concatenate([old, old[: rng.choice((1, 2, len(old)))]])
    if kind == 2:
        return old[::-1]
    changed = old.copy()
    numbers = _FLOATS if old.dtype.kind == "f" else _NUMBERS
    for _ in range(rng.choice((1, 1, 2)) if len(old) else 0):
        number = rng.choice((*numbers, float(old[0]) + 1))
        with np.errstate(all="ignore"):
            changed[rng.randrange(len(old))] = np.array(number).astype(old.dtype)
    return changed


def _collect(value: Any, places: list[tuple[Any, Any]]) -> None:
    if isinstance(value, tuple):
        value = value[1]
    for key in value if isinstance(value, dict) else range(len(value)):
        places.append((value, key))
        inner = value[key]
        is_union = isinstance(inner, tuple) and len(inner) == 2 and isinstance(inner[1], dict)
        if isinstance(inner, (dict, list)) or is_union:
            _collect(inner, places)


def _read(place: Path) -> tflite.ModelFile:
    file = tflite.read(place / _NAME)
    shapes = graph.infer_shapes(file.graph)
    if sum(map(math.prod, shapes)) <= _MOST_ELEMENTS:
        model = tflite.Model(file)
        ends = (file.graph.tensors[index] for index in file.graph.inputs)
        model(*(np.zeros(one.shape, one.dtype) for one in ends))
    return file


def _check(place: Path, found: tflite.ModelFile) -> None:
    if importlib.util.find_spec("flatbuffers") is not None:
        assert _said(tflite.read(tflite.to_bytes(found.graph)).graph) == _said(found.graph)
    if importlib.util.find_spec("ai_edge_litert") is None:
        raise Unknown
    from ai_edge_litert import schema_py_generated as litert

    model = litert.Model.GetRootAs((place / _NAME).read_bytes())
    first = model.Subgraphs(0)
    assert len(found.graph.tensors) == first.TensorsLength()
    assert (found.subgraphs, len(found.graph.inputs)) == (
        model.SubgraphsLength(),
        first.InputsLength(),
    )
    for index, tensor in enumerate(found.graph.tensors):
        other = first.Tensors(index)
        assert tensor.name == (other.Name() or b"").decode("utf-8", "backslashreplace")
        assert tensor.shape == tuple(other.Shape(i) for i in range(other.ShapeLength()))
        data = model.Buffers(other.Buffer()) if other.Buffer() else None
        is_plain = data is not None and tensor.data is not None and other.Sparsity() is None
        if is_plain and not data.Offset() and other.Type() != litert.TensorType.INT4:
            stored = bytes(data.DataAsNumpy()) if data.DataLength() else b""
            same = tensor.data.tobytes() == stored
            assert same or tensor.dtype == np.bool_, f"other data of tensor {index}"


def _said(found: graph.Graph) -> list[Any]:
    """Return all that a graph says, in a form that compares: NaN too, and 0 with -0."""
    tensors = [
        (one.name, one.shape, one.dtype, None if one.data is None else one.data.tobytes())
        for one in found.tensors
    ]
    codes = [one.quantization for one in found.tensors]
    scales = [one and (one.scale.tobytes(), one.zero_point.tolist(), one.axis) for one in codes]
    operators = [
        (one.kind, one.inputs, one.outputs, repr(one.options).replace("-0.0", "0.0"))
        for one in found.operators
    ]
    signatures = [vars(one) for one in found.signatures]
    return [tensors, scales, operators, found.inputs, found.outputs, signatures, found.name]


TARGET = Target("tflite", _seeds, _change, _read, _check)
