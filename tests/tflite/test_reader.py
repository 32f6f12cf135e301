# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Lite files become graphs, or errors that say what is wrong and where."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from octavo import tflite
from octavo.tflite.schema import OPTIONS, TABLES, Field
from tflite_files import MODELS, Draft, float_model, integer_model, quantization, sparse_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_float_file() -> None:
    found = tflite.read(float_model().bytes())
    graph = found.graph
    assert [one.kind for one in graph.operators] == ["conv_2d", "softmax"]
    assert graph.operators[0].options == {
        "padding": "same",
        "stride_w": 2,
        "stride_h": 2,
        "fused_activation_function": "none",
        "dilation_w_factor": 1,
        "dilation_h_factor": 1,
        "quantized_bias_type": "float32",
    }
    assert graph.operators[1].options == {"beta": 1.0}
    assert [one.name for one in graph.tensors] == ["x", "w", "b", "made", "y"]
    assert (graph.inputs, graph.outputs, graph.name) == ([0], [4], "main")
    weight = np.random.default_rng(0).standard_normal((5, 3, 3, 3)).astype(np.float32)
    assert np.array_equal(graph.tensors[1].data, weight)
    (signature,) = graph.signatures
    assert signature.key == "serving_default"
    assert (signature.inputs, signature.outputs) == ({"image": 0}, {"scores": 4})
    assert found.shape_signatures == {i: (-1, *graph.tensors[i].shape[1:]) for i in (0, 3, 4)}
    assert bytes(found.metadata["min_runtime_version"]) == b"1.5.0"
    assert (found.description, found.subgraphs) == ("drafted", 1)


def test_data_look_into_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.tflite").write_bytes(float_model().bytes())
    for source in (tmp_path / "x.tflite", str(tmp_path / "x.tflite"), float_model().bytes()):
        first, second = tflite.read(source).graph.tensors[1:3]
        assert first.data.base is not None
        assert first.data.base is second.data.base
        assert not first.data.flags.writeable


def test_data_behind_the_flatbuffer() -> None:
    """What is larger than 2 GB has them there."""
    draft = float_model()
    content = bytes(draft.buffers[1].pop("data"))
    draft.buffers[1] |= {"offset": 1, "size": 1}
    begin = -len(draft.bytes()) % 16 + len(draft.bytes())
    draft.buffers[1] |= {"offset": begin, "size": len(content)}
    whole = draft.bytes().ljust(begin, b"\0") + content
    tensors = tflite.read(whole).graph.tensors
    assert tensors[1].data.tobytes() == content
    with pytest.raises(ValueError, match=r"buffers\[1\]: expected 540 bytes at byte"):
        tflite.read(whole[:-1])


def test_codes() -> None:
    for kind, point in (("int8", -3), ("uint8", 125)):
        tensors = tflite.read(integer_model(kind).bytes()).graph.tensors
        assert [one.dtype.name for one in tensors] == [kind, kind, "int32", kind, kind]
        codes, weight = tensors[0].quantization, tensors[1].quantization
        assert (codes.scale, codes.zero_point, codes.axis) == (np.float32(0.05), point, 0)
        assert weight.scale.shape == ((5,) if kind == "int8" else (1,))
        assert weight.zero_point.dtype == np.int64


def test_half_a_byte() -> None:
    draft = Draft()
    codes = [[-8, 7, -1], [0, 1, -2]]
    nibbles = np.array(codes).reshape(-1) & 15
    packed = (nibbles[::2] | nibbles[1::2] << 4).astype(np.uint8)
    x, y = draft.tensor("x", (1, 3)), draft.tensor("y", (1, 2))
    w = draft.constant("w", packed, "int4", shape=(2, 3), quantization=quantization(0.5))
    draft.operator("fully_connected", [x, w, -1], [y])
    draft.graph |= {"inputs": [x], "outputs": [y]}
    weight = tflite.read(draft.bytes()).graph.tensors[w]
    assert weight.data.dtype == np.int8
    assert weight.data.tolist() == codes


def test_constants_without_elements() -> None:
    """The shape of a number is such a one."""
    draft = Draft()
    x, y = draft.tensor("x", (1, 1)), draft.tensor("y", ())
    shape = draft.tensor("shape", (0,), "int32", buffer=1)
    draft.buffers.append({"data": []})
    draft.operator("reshape", [x, shape], [y])
    draft.graph |= {"inputs": [x], "outputs": [y]}
    assert tflite.read(draft.bytes()).graph.tensors[shape].data.shape == (0,)


def test_what_is_made_of_shared_data_counts() -> None:
    draft = float_model()
    draft.buffers.append({"data": np.ones(100_000, np.uint8)})
    mask = {"shape": (100_000,), "type": "bool", "buffer": len(draft.buffers) - 1}
    draft.graph["tensors"] += [mask] * 300
    with pytest.raises(ValueError, match="over 256 times as large"):
        tflite.read(draft.bytes())


def _sparse(order: tuple[int, ...], *, blocks: dict[int, int], compressed: set[int]) -> Any:
    """Return a tensor, what a file has of it, and how: dimensions in an order, some compressed."""
    rng = np.random.default_rng(3)
    dense = rng.standard_normal((4, 2, 6)).astype(np.float32)
    dense *= rng.random((4, 2, 6)) < 0.3
    cut = [
        part
        for axis, size in enumerate(dense.shape)
        for n in (blocks.get(axis, 1),)
        for part in (size // n, n)
    ]
    within = sorted((1, 3, 5), key=lambda place: place // 2 not in blocks)
    apart = dense.reshape(cut).transpose(0, 2, 4, *within)
    apart = apart.reshape(apart.shape[: 3 + len(blocks)]).transpose(order)
    levels: list[Any] = []
    kept: list[tuple[int, ...]] = [()]
    for level, size in enumerate(apart.shape):
        if level not in compressed:
            kept = [(*one, i) for one in kept for i in range(size)]
            levels.append({"format": "dense", "dense_size": size})
            continue
        lists = [[i for i in range(size) if apart[(*one, i)].any()] for one in kept]
        segments = np.cumsum([0, *map(len, lists)])
        levels.append(
            {
                "format": "sparse_csr",
                "array_segments_type": 1,
                "array_segments": ("Int32Vector", {"values": segments}),
                "array_indices_type": 2,
                "array_indices": ("Uint16Vector", {"values": [i for one in lists for i in one]}),
            }
        )
        kept = [(*one, i) for one, found in zip(kept, lists, strict=True) for i in found]
    sparsity = {"traversal_order": order, "block_map": [*blocks], "dim_metadata": levels}
    return dense, np.array([apart[one] for one in kept], np.float32), sparsity


@pytest.mark.parametrize(
    ("order", "blocks", "compressed"),
    [
        ((0, 1, 2), {}, {2}),
        ((0, 1, 2), {}, {0, 1, 2}),
        ((2, 0, 1), {}, {0, 2}),
        ((0, 1, 2, 3), {2: 3}, {1, 2}),
        ((1, 0, 2, 4, 3), {0: 2, 2: 2}, {2}),
    ],
)
def test_sparse_tensors(
    order: tuple[int, ...], blocks: dict[int, int], compressed: set[int]
) -> None:
    dense, values, sparsity = _sparse(order, blocks=blocks, compressed=compressed)
    draft = Draft()
    x, y = draft.tensor("x", dense.shape), draft.tensor("y", dense.shape)
    packed = draft.constant("w", values, shape=dense.shape, sparsity=sparsity)
    w = draft.tensor("dense", dense.shape)
    draft.operator("densify", [packed], [w])
    draft.operator("add", [x, w], [y])
    draft.graph |= {"inputs": [x], "outputs": [y]}
    found = tflite.read(draft.bytes()).graph
    assert [one.kind for one in found.operators] == ["add"]
    assert np.array_equal(found.tensors[w].data, dense)
    assert found.tensors[packed].data is None  # nobody reads it any more


def test_constants_are_dequantized_once() -> None:
    draft = Draft()
    codes = np.arange(-3, 3, dtype=np.int8).reshape(2, 3)
    scales = quantization([0.5, 2], [1, -1])
    x, y = draft.tensor("x", (2, 3)), draft.tensor("y", (2, 3))
    w, full = draft.constant("w", codes, quantization=scales), draft.tensor("full", (2, 3))
    draft.operator("dequantize", [w], [full])
    draft.operator("add", [x, full], [y])
    draft.graph |= {"inputs": [x], "outputs": [y]}
    found = tflite.read(draft.bytes()).graph
    assert len(found.operators) == 1
    assert found.tensors[full].data.tolist() == [[-2, -1.5, -1], [2, 4, 6]]


def _of(draft: Draft, path: str) -> Any:
    """Return the dict in which the last word of a path is."""
    place: Any = draft.values
    for word in path.split(".")[:-1]:
        place = place[int(word) if word.isdigit() else word]
    return place


_X = "subgraphs.0.tensors.0"
_W = "subgraphs.0.tensors.1"
_CONV = "subgraphs.0.operators.0"
WRONG: list[tuple[Callable[[], Draft], str, Any, str]] = [
    (float_model, "version", 2, "version: expected 3, got 2"),
    (float_model, "subgraphs", [], "subgraphs: expected at least one, got none"),
    (float_model, f"{_X}.type", "string", r"tensors\[0\] \('x'\): expected one of .* got string"),
    (float_model, f"{_X}.type", 99, r"tensors\[0\].type: expected a number below 23, got 99"),
    (float_model, f"{_X}.type", "int4", "got int4"),
    (float_model, f"{_X}.shape", (1, -4, 4, 3), "sizes of at least 0"),
    (float_model, f"{_X}.shape", (1,) * 9, "at most 8 sizes, got 9"),
    (float_model, f"{_W}.shape", (5, 3, 3, 4), "expected 720 bytes for 180 values .* got 540"),
    (float_model, f"{_W}.shape", (2**31 - 1,) * 8, r"\('w'\).shape: expected at most 2\*\*46"),
    (float_model, f"{_X}.shape", (0, *[2**31 - 1] * 3), r"at most 2\*\*46 elements, got \(0, 2147"),
    (float_model, f"{_W}.buffer", 9, "expected one of 4 buffers, got 9"),
    (float_model, f"{_W}.external_buffer", 1, "in another file"),
    (float_model, f"{_W}.name", "n" * 5000, ""),
    (float_model, "buffers.1.offset", 2**63, "expected 0 bytes at byte 9223372036854775808"),
    (float_model, "metadata.0.buffer", 9, r"metadata\[0\]: expected one of 4 buffers, got 9"),
    (float_model, f"{_CONV}.opcode_index", 2, r"operators\[0\]: expected one of 2 operator codes"),
    (float_model, f"{_CONV}.inputs", [0, 7, 2], "expected an index of 5 tensors, got 7"),
    (float_model, f"{_CONV}.inputs", [3, 1, 2], "reads from itself"),
    (float_model, f"{_CONV}.inputs", None, "inputs"),
    (float_model, f"{_CONV}.builtin_options_type", 2, "options of type 1 for conv_2d, got 2"),
    (float_model, f"{_CONV}.builtin_options_type", 0, "stride"),
    (float_model, "operator_codes.0.version", 9, "expected conv_2d up to version 8, got 9"),
    (float_model, "operator_codes.0.version", 0, "up to version 8, got 0"),
    (float_model, "operator_codes.0.builtin_code", 999, "a builtin code below 210, got 999"),
    (float_model, "operator_codes.0.builtin_code", 119, "while runs another subgraph"),
    (float_model, "operator_codes.0.builtin_code", 27, r"octavo lacks .* svdf \(1x\)"),
    (float_model, "signature_defs.0.inputs.0.tensor_index", 5, "'serving_default', inputs"),
    (integer_model, f"{_X}.quantization", None, "expected a quantization, got none"),
    (integer_model, f"{_X}.quantization", quantization(0.0), "positive finite values, got 0"),
    (integer_model, f"{_X}.quantization", quantization(np.nan), "positive finite values, got nan"),
    (integer_model, f"{_X}.quantization", quantization([]), "expected a quantization, got none"),
    (integer_model, f"{_X}.quantization", quantization(1, 200), "zero points in the range of int8"),
    (integer_model, f"{_W}.quantization", quantization(np.ones(4)), "scale for each channel"),
    (integer_model, f"{_W}.quantization.zero_point", [0, 0], "expected 5, as scales, got 2"),
    (integer_model, f"{_W}.quantization.quantized_dimension", 7, "each channel of axis 7"),
    (integer_model, f"{_W}.quantization.details_type", 2, "for the tensor or for each channel"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "path", "value", "message"), WRONG)
def test_what_is_wrong_is_named(
    model: Callable[[], Draft], path: str, value: Any, message: str
) -> None:
    draft = model()
    _of(draft, path)[path.rpartition(".")[2]] = value
    if not message:
        tflite.read(draft.bytes())
        return
    with pytest.raises(ValueError, match=message) as caught:
        tflite.read(draft.bytes())
    assert str(caught.value).startswith("model: ")
    assert len(str(caught.value)) < 600


def test_a_custom_operator_is_named() -> None:
    draft = float_model()
    code = {"builtin_code": 32, "custom_code": "TFLite_Detection_PostProcess", "version": 1}
    draft.codes[0] = code
    with pytest.raises(ValueError, match="custom operator 'TFLite_Detection_PostProcess'"):
        tflite.read(draft.bytes())


def test_options_of_later_days_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A field that this schema does not have may change what an operator does."""
    draft = float_model()
    later = {**OPTIONS["conv_2d"][1], "flipped": Field(9, "bool")}
    monkeypatch.setitem(TABLES, "later", later)
    options = _of(draft, f"{_CONV}.x")["builtin_options"][1]
    _of(draft, f"{_CONV}.x")["builtin_options"] = ("later", {**options, "flipped": True})
    with pytest.raises(ValueError, match=r"conv_2d has options octavo does not know: \[9\]"):
        tflite.read(draft.bytes())


SPARSE_WRONG = [
    ("traversal_order", (0, 1), "expected 3 dimensions in some order"),
    ("traversal_order", (0, 1, 1), "expected 3 dimensions in some order"),
    ("block_map", (2,), "expected dimensions, each once"),
    ("dim_metadata.2.dense_size", 3, "a size that divides 8, got 3"),
    ("dim_metadata.2.dense_size", 0, "a size that divides 8, got 0"),
    ("dim_metadata.0.dense_size", 5, "expected size 6, got 5"),
    ("dim_metadata.1.array_indices_type", 0, "a known type of indices, got 0"),
    ("dim_metadata.1.array_indices_type", 9, "a known type of indices, got 9"),
    ("dim_metadata.1.array_indices", None, "expected indices, got none"),
    ("dim_metadata.1.array_indices", ("Uint16Vector", {"values": [1, 0, 1]}), "4 indices, got 3"),
    ("dim_metadata.1.array_indices", ("Uint16Vector", {"values": [1, 0, 1, 2]}), "below 2"),
    ("dim_metadata.1.array_segments", ("Uint8Vector", {"values": [0, 4]}), "7 rising numbers"),
    (
        "dim_metadata.1.array_segments",
        ("Uint8Vector", {"values": [0, 1, 0, 3, 3, 3, 4]}),
        "7 rising numbers",
    ),
]


@pytest.mark.parametrize(("path", "value", "message"), SPARSE_WRONG)
def test_what_is_wrong_with_zeros_is_named(path: str, value: Any, message: str) -> None:
    draft = sparse_model()
    place = f"{_W}.sparsity.{path}"
    _of(draft, place)[place.rpartition(".")[2]] = value
    with pytest.raises(ValueError, match=rf"tensors\[1\].*{message}"):
        tflite.read(draft.bytes())


def test_zeros_take_no_more_than_the_file_allows() -> None:
    draft = sparse_model()
    _of(draft, f"{_W}.x")["shape"] = (6, 2**30)
    with pytest.raises(ValueError, match="over 256 times as large"):
        tflite.read(draft.bytes())


@pytest.mark.parametrize("name", MODELS)
def test_damaged_words(name: str) -> None:
    """Offsets, lengths and lists of fields: each is another number, once."""
    whole = MODELS[name]().bytes()
    for place in range(0, len(whole), 4):
        for number in (0, 1, 4, 2**16 - 1, 2**31, 2**32 - 1):
            changed = bytearray(whole)
            changed[place : place + 4] = struct.pack("<I", number)
            assert _refusal(bytes(changed)).startswith("model: ")


@pytest.mark.parametrize("name", MODELS)
def test_cut_files(name: str) -> None:
    whole = MODELS[name]().bytes()
    for length in range(len(whole)):
        assert _refusal(whole[:length]).startswith("model: ")
    with pytest.raises(ValueError, match="no TensorFlow Lite file"):
        tflite.read(whole[:7])


def _refusal(content: bytes) -> str:
    try:
        tflite.read(content)
    except ValueError as error:
        return str(error)
    return "model: it was read"


def test_tables_that_share_too_much() -> None:
    draft = float_model()
    content = bytearray(draft.bytes())
    # A vector of tensors that are all one, with a name of its own length.
    draft.graph["tensors"] = [{"name": "n" * 3000}] + [{}] * 2000
    content = bytearray(draft.bytes())
    first = content.index(struct.pack("<I", 2001)) + 4
    target = first + struct.unpack_from("<I", content, first)[0]
    for place in range(first, first + 4 * 2001, 4):
        struct.pack_into("<I", content, place, target - place)
    with pytest.raises(ValueError, match="too often"):
        tflite.read(bytes(content))


def test_other_sources() -> None:
    with pytest.raises(TypeError, match="source: expected a path or bytes, got int"):
        tflite.read(3)
    with pytest.raises(FileNotFoundError, match=r"no\.tflite"):
        tflite.read("no.tflite")
    with pytest.raises(ValueError, match="no TensorFlow Lite file"):
        tflite.read(b"GGUF" * 10)
