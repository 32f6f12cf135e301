# SPDX-License-Identifier: Apache-2.0
"""Tensors of a file: what they are, and the data of those that are constant."""

from __future__ import annotations

import math

import numpy as np

from octavo._text import shown
from octavo._types import Array
from octavo.graph import Quantization, Tensor
from octavo.tflite.flatbuffer import FlatBuffer, Table
from octavo.tflite.sparsity import densified

_DTYPES = {
    name: np.dtype(name)
    for name in (
        "float32",
        "float16",
        "float64",
        "int8",
        "uint8",
        "int16",
        "int32",
        "int64",
        "bool",
    )
}
_MAX_RANK = 8
_MOST_ELEMENTS = 1 << 46
_LEAST_ROOM = 1 << 20


class Tensors:
    """Reads the tensors of one file.

    Parameters
    ----------
    buffer : FlatBuffer
    buffers : list of Table
        Where their data are.
    """

    def __init__(self, buffer: FlatBuffer, buffers: list[Table]) -> None:
        self._buffer, self._buffers = buffer, buffers
        # Zeros of sparse tensors are not in the file, and tensors may share what is in it.
        self._room = max(_LEAST_ROOM, 256 * buffer.size)

    def take(self, nbytes: int, where: str) -> None:
        """Count bytes that are made of the file's, and refuse a file that asks for too many."""
        self._room -= nbytes
        if self._room < 0:
            self._buffer.fail(
                where, "its constants unpacked are over 256 times as large as the file"
            )

    def tensor(self, table: Table) -> Tensor:
        """Return a tensor as the graph has it; data look into the file wherever they can."""
        buffer, where, kind = self._buffer, table.titled, table["type"]
        shape = shape_of(table, "shape")
        if any(size < 0 for size in shape):
            buffer.fail(f"{where}.shape", f"expected sizes of at least 0, got {shown(shape)}")
        # NumPy has no arrays of such shapes, not even of those with a 0 in them.
        if math.prod(max(1, size) for size in shape) > _MOST_ELEMENTS:
            buffer.fail(f"{where}.shape", f"expected at most 2**46 elements, got {shown(shape)}")
        content = self._content(table, where)
        dtype = _DTYPES.get("int8" if kind == "int4" and content is not None else kind)
        if dtype is None:
            buffer.fail(where, f"expected one of the types {', '.join(_DTYPES)}, got {kind}")
        data = None
        if content is not None:
            sparsity = table["sparsity"]
            if sparsity is None:
                data = self._dense(content, kind, dtype, math.prod(shape), where).reshape(shape)
            else:
                data = self._sparse(content, kind, dtype, shape, sparsity)
        quantization = _quantization(table["quantization"]) if dtype.name in _CODES else None
        return Tensor(table["name"] or "", shape, dtype, data, quantization, table["is_variable"])

    def _content(self, table: Table, where: str) -> Array | None:
        """Return the bytes of a constant, None of what is no constant."""
        if table["external_buffer"]:
            self._buffer.fail(where, "its data are in another file, which octavo does not read")
        number = table["buffer"]
        return self.content(number, where) if number else None

    def content(self, number: int, where: str) -> Array | None:
        """Return the bytes of a buffer; None if it is empty."""
        if number >= len(self._buffers):
            self._buffer.fail(where, f"expected one of {len(self._buffers)} buffers, got {number}")
        holder = self._buffers[number]
        # A file beyond 2 GB has its data behind the flatbuffer; 1 is what writers fill in later.
        begin, size = holder["offset"], holder["size"]
        if begin > 1:
            self._buffer.check(begin, size, holder.where)
            return self._buffer.content[begin : begin + size] if size else None
        data: Array | None = holder["data"]
        return data if data is not None and len(data) else None

    def _dense(
        self, content: Array, kind: str, dtype: np.dtype[np.generic], count: int, where: str
    ) -> Array:
        """Return `count` values of a buffer."""
        expected = (count + 1) // 2 if kind == "int4" else count * dtype.itemsize
        if len(content) != expected:
            self._buffer.fail(
                where, f"expected {expected} bytes for {count} values of {kind}, got {len(content)}"
            )
        if kind == "int4":
            self.take(2 * expected, where)
            return _nibbles(content)[:count]
        values = content.view(dtype)
        if values.flags.aligned and dtype != np.bool_:
            return values
        self.take(expected, where)
        return content != 0 if dtype == np.bool_ else values.copy()

    def _sparse(
        self,
        content: Array,
        kind: str,
        dtype: np.dtype[np.generic],
        shape: tuple[int, ...],
        sparsity: Table,
    ) -> Array:
        where = sparsity.where
        self.take(math.prod(shape) * dtype.itemsize, where)
        count = len(content) * 2 if kind == "int4" else len(content) // dtype.itemsize
        return densified(self._dense(content, kind, dtype, count, where), shape, sparsity)


_CODES = ("int8", "uint8", "int16", "int32")


def shape_of(table: Table, field: str) -> tuple[int, ...]:
    """Return a vector of sizes, () where there is none."""
    sizes = table[field]
    if sizes is None:
        return ()
    if len(sizes) > _MAX_RANK:
        table.buffer.fail(
            table.path(field), f"expected at most {_MAX_RANK} sizes, got {len(sizes)}"
        )
    return tuple(sizes.tolist())


def _nibbles(content: Array) -> Array:
    """Return two codes of each byte, the lower half first."""
    halves = np.stack([content << 4, content & 0xF0], axis=1).reshape(-1)
    return halves.view(np.int8) >> 4


def _quantization(table: Table | None) -> Quantization | None:
    if table is None or (scale := table["scale"]) is None or len(scale) == 0:
        return None
    if table["details_type"]:
        table.buffer.fail(table.where, "expected a scale for the tensor or for each channel")
    zero_point = table["zero_point"]
    if zero_point is None or len(zero_point) == 0:
        zero_point = np.zeros(1, np.int64)
    if len(zero_point) not in (1, len(scale)):
        table.buffer.fail(
            table.path("zero_point"), f"expected {len(scale)}, as scales, got {len(zero_point)}"
        )
    axis = table["quantized_dimension"] if len(scale) > 1 else 0
    points = np.broadcast_to(zero_point, scale.shape)
    return Quantization(scale.astype(np.float32), points.astype(np.int64), axis)
