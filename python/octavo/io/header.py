# SPDX-License-Identifier: Apache-2.0
"""The header of a safetensors file: read, and checked against the file before it is believed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Protocol

import numpy as np

from octavo._text import shown
from octavo._types import Array

LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000
_MAX_RANK = 32
_MAX_EXTENT = 1 << 48

# BF16 has no NumPy type: its raw bits are handed out as uint16 and `TensorInfo.dtype` tells.
DTYPES: dict[str, str] = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}
NAMES = {np.dtype(code).str: name for name, code in DTYPES.items() if name != "BF16"}


class TensorInfo(NamedTuple):
    """One tensor as the header describes it: format name of its type, shape, byte range."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in the file."""
        return self.end - self.begin


class Tensors(Protocol):
    """A file of tensors, each of which is read when it is asked for."""

    path: Path
    tensors: dict[str, TensorInfo]

    def __contains__(self, name: object) -> bool: ...

    def __iter__(self) -> Iterator[str]: ...

    def array(self, name: str, rows: tuple[int, int] | None = None) -> Array:
        """Return a tensor, or some of its rows."""


def fail(path: Path, what: str) -> NoReturn:
    """Raise for a file that is not what it should be."""
    raise ValueError(f"{path}: not a valid safetensors file: {what}")


def read_header(path: Path, file: Any, size: int) -> tuple[dict[str, Any], int]:
    """Return the JSON of an open file of `size` bytes, and where the data begin."""
    if size < LENGTH_BYTES:
        fail(path, f"{size} bytes, too short for a header")
    length = int.from_bytes(file.read(LENGTH_BYTES), "little")
    if length > min(_MAX_HEADER_BYTES, size - LENGTH_BYTES):
        fail(path, f"header of {length} bytes in a file of {size} (truncated or corrupt)")
    try:
        text = file.read(length).decode("utf-8")
        header = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
        if "\\u" in text:  # half of a surrogate pair is no text
            json.dumps(header, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        fail(path, f"header is not JSON ({error})")
    if not isinstance(header, dict):
        fail(path, "header is not a JSON object")
    return header, LENGTH_BYTES + length


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name occurs twice")
    return table


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def check_header(path: Path, header: dict[str, Any], data_bytes: int) -> dict[str, TensorInfo]:
    """Return the tensors by name, which must cover the data without gaps."""
    entries = dict(header)
    metadata = {} if (given := entries.pop("__metadata__", None)) is None else given
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        fail(path, "__metadata__ is no object of strings")
    tensors = {name: _check_entry(path, name, entry, data_bytes) for name, entry in entries.items()}
    position = 0
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if info.begin != position:
            fail(path, f"tensor {shown(name)} begins at byte {info.begin}, expected {position}")
        position = info.end
    if position != data_bytes:
        fail(path, f"tensors cover {position} of {data_bytes} data bytes")
    return tensors


def _is_size(value: object, limit: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= limit


def _check_entry(path: Path, name: str, entry: Any, data_bytes: int) -> TensorInfo:
    if not isinstance(entry, dict):
        fail(path, f"tensor {shown(name)} has no description")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str):
        fail(path, f"tensor {shown(name)} has dtype {shown(dtype)}")
    if not (
        isinstance(shape, list)
        and len(shape) <= _MAX_RANK
        and all(_is_size(n, _MAX_EXTENT) for n in shape)
    ):
        fail(path, f"tensor {shown(name)} has an impossible shape {shown(shape)}")
    if not (
        isinstance(offsets, list)
        and len(offsets) == 2
        and all(_is_size(n, data_bytes) for n in offsets)
        and offsets[0] <= offsets[1]
    ):
        fail(
            path,
            f"tensor {shown(name)} lies at bytes {shown(offsets)}, outside the {data_bytes} data "
            "bytes of the file (truncated or corrupt)",
        )
    info = TensorInfo(dtype, tuple(shape), offsets[0], offsets[1])
    if dtype in DTYPES:
        # Python integers: a product of absurd extents cannot wrap around.
        expected = math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize
        if expected != info.end - info.begin:
            fail(
                path,
                f"tensor {shown(name)} of shape {shape} and type {dtype} needs {expected} bytes, "
                f"has {info.end - info.begin}",
            )
    return info
