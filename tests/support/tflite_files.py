# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Lite files of dicts, by the schema: whatever is asked for, also what is wrong."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from octavo.tflite.schema import ENUMS, IDENTIFIER, OPERATORS, OPTIONS, SCALARS, TABLES, Field

Values = dict[str, Any]
"""Fields of a table. A union is a pair: a name of `TABLES` or a kind of `OPTIONS`, and fields."""

_DATA_ALIGNMENT = 16


def tflite_bytes(model: Values, identifier: bytes = IDENTIFIER) -> bytes:
    """Return a file; what tables point to stands behind them, in the order of their fields."""
    out = bytearray(4) + identifier
    _point(out, 0, _table(out, TABLES["Model"], model))
    return bytes(out)


def _align(out: bytearray, alignment: int, before: int = 0) -> None:
    out.extend(bytes(-(len(out) + before) % alignment))


def _point(out: bytearray, place: int, target: int) -> None:
    struct.pack_into("<I", out, place, target - place)


def _code(field: Field) -> str:
    if field.is_vector or not (field.type in SCALARS or field.type in ENUMS):
        return "I"
    return SCALARS["int8" if field.type in ENUMS else field.type]


def _table(out: bytearray, fields: dict[str, Field], values: Values) -> int:
    """Write a table, then what it points to; return where it begins."""
    given = sorted((fields[name] for name, value in values.items() if value is not None))
    names = {fields[name].number: name for name in values}
    places, size = [0] * (given[-1].number + 1 if given else 0), 4
    for field in given:
        width = struct.calcsize(f"<{_code(field)}")
        size += -size % width
        places[field.number] = size
        size += width
    _align(out, 8)
    listed = 4 + 2 * len(places)
    begin = len(out) + listed + -listed % 8
    out += struct.pack(f"<{listed // 2}H", listed, size, *places)
    _align(out, 8)
    out += struct.pack("<i", listed + -listed % 8) + bytes(size - 4)
    for field in given:
        value, place = values[names[field.number]], begin + places[field.number]
        if _code(field) == "I" and field.type != "uint32":
            _point(out, place, _target(out, field, value))
        else:
            number = ENUMS[field.type].index(value) if isinstance(value, str) else value
            struct.pack_into(f"<{_code(field)}", out, place, number)
    return begin


def _target(out: bytearray, field: Field, value: Any) -> int:
    if field.type == "union":
        kind, values = value
        return _table(out, TABLES[kind] if kind in TABLES else OPTIONS[kind][1], values)
    if field.is_vector and field.type in TABLES:
        return _tables(out, TABLES[field.type], value)
    if field.type in TABLES:
        return _table(out, TABLES[field.type], value)
    if field.type == "string":
        content, width = (value.encode() if isinstance(value, str) else value) + b"\0", 1
        return _vector(out, content, len(content) - 1, width)
    dtype = np.dtype(f"<{SCALARS[field.type]}")
    with np.errstate(invalid="ignore"):
        array = np.asarray(value, dtype)
    width = _DATA_ALIGNMENT if field.type == "uint8" else dtype.itemsize
    return _vector(out, array.tobytes(), array.size, width)


def _vector(out: bytearray, content: bytes, count: int, alignment: int) -> int:
    _align(out, max(4, alignment), 4)
    begin = len(out)
    out += struct.pack("<I", count) + content
    return begin


def _tables(out: bytearray, fields: dict[str, Field], values: list[Values]) -> int:
    begin = _vector(out, bytes(4 * len(values)), len(values), 4)
    for index, value in enumerate(values):
        _point(out, begin + 4 + 4 * index, _table(out, fields, value))
    return begin


class Draft:
    """A model that grows tensor by tensor; `values` is what it is so far."""

    def __init__(self) -> None:
        self.buffers: list[Values] = [{}]
        self.graph: Values = {"tensors": [], "inputs": [], "outputs": [], "operators": []}
        self.codes: list[Values] = []
        self.values: Values = {
            "version": 3,
            "operator_codes": self.codes,
            "subgraphs": [self.graph],
            "description": "drafted",
            "buffers": self.buffers,
        }

    def tensor(self, name: str, shape: tuple[int, ...], kind: str = "float32", **more: Any) -> int:
        """Add a tensor; return its index."""
        self.graph["tensors"].append({"name": name, "shape": shape, "type": kind, **more})
        return len(self.graph["tensors"]) - 1

    def constant(self, name: str, data: Any, kind: str | None = None, **more: Any) -> int:
        """Add a tensor with data, of the shape and type of those unless `more` says otherwise."""
        array = np.asarray(data)
        self.buffers.append({"data": np.frombuffer(array.tobytes(), np.uint8)})
        shape = more.pop("shape", array.shape)
        number = len(self.buffers) - 1
        return self.tensor(name, shape, kind or array.dtype.name, buffer=number, **more)

    def operator(
        self, kind: str, inputs: list[int], outputs: list[int], version: int = 1, **options: Any
    ) -> Values:
        """Add an operator; return it."""
        number = OPERATORS.index(kind)
        self.codes.append(
            {
                "builtin_code": number,
                "deprecated_builtin_code": min(number, 127),
                "version": version,
            }
        )
        made: Values = {"opcode_index": len(self.codes) - 1, "inputs": inputs, "outputs": outputs}
        if kind in OPTIONS:
            made["builtin_options_type"] = OPTIONS[kind][0]
            made["builtin_options"] = (kind, options)
        self.graph["operators"].append(made)
        return made

    def bytes(self) -> bytes:
        """Return the file."""
        return tflite_bytes(self.values)


def quantization(scale: Any, zero_point: Any = 0, axis: int = 0) -> Values:
    """Return the parameters of codes."""
    return {
        "scale": np.atleast_1d(scale),
        "zero_point": np.atleast_1d(zero_point),
        "quantized_dimension": axis,
    }


def float_model() -> Draft:
    """Return a convolution with a signature and metadata, whose batch may vary."""
    draft, rng = Draft(), np.random.default_rng(0)
    x = draft.tensor("x", (1, 4, 4, 3), shape_signature=(-1, 4, 4, 3))
    weight = draft.constant("w", rng.standard_normal((5, 3, 3, 3)).astype(np.float32))
    bias = draft.constant("b", rng.standard_normal(5).astype(np.float32))
    made = draft.tensor("made", (1, 2, 2, 5), shape_signature=(-1, 2, 2, 5))
    y = draft.tensor("y", (1, 2, 2, 5), shape_signature=(-1, 2, 2, 5))
    draft.operator("conv_2d", [x, weight, bias], [made], stride_w=2, stride_h=2)
    draft.operator("softmax", [made], [y], beta=1)
    draft.graph |= {"inputs": [x], "outputs": [y], "name": "main"}
    draft.buffers.append({"data": np.frombuffer(b"1.5.0", np.uint8)})
    draft.values["metadata"] = [{"name": "min_runtime_version", "buffer": len(draft.buffers) - 1}]
    draft.values["signature_defs"] = [
        {
            "signature_key": "serving_default",
            "inputs": [{"name": "image", "tensor_index": x}],
            "outputs": [{"name": "scores", "tensor_index": y}],
        }
    ]
    return draft


def integer_model(kind: str = "int8") -> Draft:
    """Return a convolution and an addition of codes, with a scale for each channel of weights."""
    draft, rng = Draft(), np.random.default_rng(1)
    zero_point = 0 if kind == "int8" else 128
    codes = quantization(0.05, zero_point - 3)
    x = draft.tensor("x", (1, 4, 4, 3), kind, quantization=codes)
    if kind == "int8":
        scales = rng.uniform(0.01, 0.02, 5)
        many = quantization(scales, np.zeros(5, int), 0)
        weight = rng.integers(-127, 128, (5, 1, 1, 3)).astype(np.int8)
    else:
        scales = np.full(1, 0.015)
        many = quantization(scales, 120)
        weight = rng.integers(0, 256, (5, 1, 1, 3)).astype(np.uint8)
    w = draft.constant("w", weight, quantization=many)
    bias = rng.integers(-99, 99, 5).astype(np.int32)
    b = draft.constant("b", bias, quantization=quantization(0.05 * scales, np.zeros(len(scales))))
    made = draft.tensor("made", (1, 4, 4, 5), kind, quantization=quantization(0.1, zero_point))
    y = draft.tensor("y", (1, 4, 4, 5), kind, quantization=quantization(0.2, zero_point + 1))
    draft.operator(
        "conv_2d", [x, w, b], [made], 3, stride_w=1, stride_h=1, fused_activation_function="relu"
    )
    draft.operator("add", [made, made], [y], 2)
    draft.graph |= {"inputs": [x], "outputs": [y]}
    return draft


def sparse_model() -> Draft:
    """Return a product with sparse float16 weights: a block of 4 columns, compressed rows."""
    draft = Draft()
    weight = np.zeros((6, 8), np.float16)
    weight[[0, 2, 2, 5], [4, 0, 5, 7]] = 1, 2, -3, 0.5
    blocks = weight.reshape(6, 2, 4)
    rows, indices = blocks.any(axis=2).nonzero()
    segments = np.searchsorted(rows, np.arange(7))
    sparsity = {
        "traversal_order": (0, 1, 2),
        "block_map": (1,),
        "dim_metadata": [
            {"format": "dense", "dense_size": 6},
            {
                "format": "sparse_csr",
                "array_segments_type": 3,
                "array_segments": ("Uint8Vector", {"values": segments}),
                "array_indices_type": 2,
                "array_indices": ("Uint16Vector", {"values": indices}),
            },
            {"format": "dense", "dense_size": 4},
        ],
    }
    x = draft.tensor("x", (2, 8))
    packed = draft.constant("w", blocks[rows, indices], shape=(6, 8), sparsity=sparsity)
    half, full = draft.tensor("half", (6, 8), "float16"), draft.tensor("full", (6, 8))
    y = draft.tensor("y", (2, 6))
    draft.operator("densify", [packed], [half])
    draft.operator("dequantize", [half], [full], 3)
    draft.operator("fully_connected", [x, full, -1], [y])
    draft.graph |= {"inputs": [x], "outputs": [y]}
    return draft


def nibble_model() -> Draft:
    """Return a product of floats with weights of 4 bits."""
    draft = Draft()
    packed = np.random.default_rng(2).integers(0, 256, 24).astype(np.uint8)
    x, y = draft.tensor("x", (2, 8)), draft.tensor("y", (2, 6))
    weight = draft.constant("w", packed, "int4", shape=(6, 8), quantization=quantization(0.05))
    draft.operator("fully_connected", [x, weight, -1], [y], 9)
    draft.graph |= {"inputs": [x], "outputs": [y]}
    return draft


MODELS = {
    "float": float_model,
    "int8": integer_model,
    "uint8": lambda: integer_model("uint8"),
    "sparse": sparse_model,
    "int4": nibble_model,
}
"""Small models by what their weights are."""
