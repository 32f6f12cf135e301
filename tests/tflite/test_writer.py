# SPDX-License-Identifier: Apache-2.0
"""What is written is read back as it was, and other readers take it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from face_files import FACES
from octavo import tflite
from octavo.graph import Graph, Operator, Signature, Tensor
from tflite_files import MODELS

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("flatbuffers")
SOURCES: list[Any] = [*MODELS, *FACES]


def read(source: Any) -> Graph:
    return tflite.read(MODELS[source]().bytes() if isinstance(source, str) else source).graph


def described(graph: Graph) -> Any:
    tensors = [
        (
            one.name,
            one.shape,
            one.dtype,
            one.variable,
            None if one.data is None else one.data.tobytes(),
            None
            if (q := one.quantization) is None
            else (q.scale.tolist(), q.zero_point.tolist(), q.axis),
        )
        for one in graph.tensors
    ]
    operators = [(one.kind, one.inputs, one.outputs, one.options) for one in graph.operators]
    signatures = [(one.key, one.inputs, one.outputs) for one in graph.signatures]
    return tensors, operators, graph.inputs, graph.outputs, signatures, graph.name


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_there_and_back(source: Any, tmp_path: Path) -> None:
    graph = read(source)
    tflite.save(graph, tmp_path / "x.tflite")
    content = (tmp_path / "x.tflite").read_bytes()
    assert content == tflite.to_bytes(graph)
    assert content[4:8] == b"TFL3"
    file = tflite.read(content)
    assert described(file.graph) == described(graph)
    assert bytes(file.metadata["min_runtime_version"]).rstrip(b"\0") == b"2.17.0"
    for tensor in file.graph.tensors:
        if tensor.data is not None and tensor.data.base is not None:
            assert (tensor.data.ctypes.data - tensor.data.base.ctypes.data) % 16 == 0


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_litert_takes_it(source: Any) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    original = MODELS[source]().bytes() if isinstance(source, str) else source.read_bytes()
    results = []
    for content in (original, tflite.to_bytes(read(source))):
        interpreter = litert.Interpreter(model_content=content)
        interpreter.allocate_tensors()
        rng = np.random.default_rng(0)
        for one in interpreter.get_input_details():
            x = rng.uniform(-1, 1, one["shape"]) * (1 if one["dtype"] == np.float32 else 50)
            interpreter.set_tensor(one["index"], (x + 60 * (x.max() > 2)).astype(one["dtype"]))
        interpreter.invoke()
        outputs = interpreter.get_output_details()
        results.append([interpreter.get_tensor(one["index"]) for one in outputs])
    for wanted, got in zip(*results, strict=True):
        np.testing.assert_array_equal(got, wanted)


def one_operator(kind: str, *dtypes: str, inputs: int = 1, **options: Any) -> Graph:
    tensors = [Tensor(f"t{i}", (1, 4), np.dtype(one)) for i, one in enumerate(dtypes)]
    places = tuple(range(inputs))
    operator = Operator(kind, places, (inputs,), options)
    return Graph(tensors, [operator], [*places], [inputs], [Signature("s", {"a": 0}, {"b": 1})])


@pytest.mark.parametrize(
    ("graph", "version"),
    [
        (one_operator("relu", "float32", "float32"), 1),
        (one_operator("dequantize", "float16", "float32"), 3),
        (read("float"), 1),
        (read("int8"), 3),
        (read("int4"), 3),
    ],
)
def test_versions(graph: Graph, version: int) -> None:
    """The operator's code stands in the file as it is in the graph's first operator."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    model = schema.Model.GetRootAs(tflite.to_bytes(graph), 0)
    assert model.OperatorCodes(0).Version() == version


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = read("float")
    with pytest.raises(TypeError, match=r"graph: expected an octavo\.graph\.Graph, got bytes"):
        tflite.to_bytes(b"")  # type: ignore[arg-type]
    (tmp_path / "kept").write_bytes(b"old")
    broken = Graph(graph.tensors, graph.operators, [99], graph.outputs)
    with pytest.raises(ValueError, match="inputs: expected an index of"):
        tflite.save(broken, tmp_path / "kept")
    monkeypatch.setattr("octavo.tflite.writer._MOST_BYTES", 100)
    with pytest.raises(ValueError, match=r"graph: expected at most 100 bytes of constants"):
        tflite.save(graph, tmp_path / "kept")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(ImportError, match=r"'flatbuffers' package: pip install 'octavo\[tflite\]'"):
        tflite.save(graph, tmp_path / "kept")
    assert (tmp_path / "kept").read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [tmp_path / "kept"]
