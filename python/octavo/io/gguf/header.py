# SPDX-License-Identifier: Apache-2.0
"""The header of a GGUF file: its keys and tensors, checked before they are believed."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from octavo._text import shown
from octavo.io.file_bytes import FileBytes
from octavo.io.gguf.formats import FORMATS
from octavo.io.header import TensorInfo

_MAX_HEADER_BYTES = 64 << 20
_READ_AHEAD = 1 << 18
_MAX_KEY_BYTES = (1 << 16) - 1
_MAX_RANK = 4
# Of tensors, and of keys: what is kept of one is larger than what the file has of it.
_MAX_COUNT = 1 << 16
_ALIGNMENT = "general.alignment"
_DEFAULT_ALIGNMENT = 32
_MAX_ALIGNMENT = 1 << 16

_SCALARS: dict[int, np.dtype[Any]] = {
    number: np.dtype(code)
    for number, code in enumerate(("<u1", "<i1", "<u2", "<i2", "<u4", "<i4", "<f4", "|b1"))
} | {number: np.dtype(code) for number, code in ((10, "<u8"), (11, "<i8"), (12, "<f8"))}
_STRING, _ARRAY = 8, 9
# The least that a key with its value takes, and a tensor.
_LEAST_PAIR, _LEAST_TENSOR = 8 + 4 + 1, 8 + 4 + 8 + 4 + 8

_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


class Header(NamedTuple):
    """What a file says of itself.

    Attributes
    ----------
    metadata : dict
        Values by keys: numbers, booleans, strings; arrays as read-only ndarrays, of strings as
        lists.
    tensors : dict of str to TensorInfo
        By names, in the order of the file; ``begin`` counts from the beginning of the file.
    """

    metadata: dict[str, Any]
    tensors: dict[str, TensorInfo]


def read_header(file: FileBytes) -> Header:
    """Return the header of an open file.

    Raises
    ------
    ValueError
        If something in it is not as the format says, or not in the file; the message names the
        file and the field.
    """
    cursor = _Cursor(file)
    _check_version(cursor)
    tensors = cursor.count("tensor count", _LEAST_TENSOR, _MAX_COUNT)
    pairs = cursor.count("key count", _LEAST_PAIR, _MAX_COUNT)
    metadata: dict[str, Any] = {}
    for index in range(pairs):
        key = cursor.text(f"key {index}", _MAX_KEY_BYTES)
        if key in metadata:
            cursor.fail(f"key {shown(key)} occurs twice")
        metadata[key] = _value(cursor, f"key {shown(key)}")
    alignment = _checked_alignment(cursor, metadata.get(_ALIGNMENT, _DEFAULT_ALIGNMENT))
    found: dict[str, TensorInfo] = {}
    for index in range(tensors):
        name = cursor.text(f"name of tensor {index}", _MAX_KEY_BYTES)
        if name in found:
            cursor.fail(f"tensor {shown(name)} occurs twice")
        found[name] = _tensor(cursor, f"tensor {shown(name)}", alignment)
    start = -(-cursor.position // alignment) * alignment
    return Header(metadata, _placed(cursor, found, start))


class _Cursor:
    """Takes one field after the other, and none that the file does not have."""

    def __init__(self, file: FileBytes) -> None:
        self.path, self.position = file.path, 0
        self._file, self._data = file, bytearray()
        self.file_size = file.size
        self._size = min(file.size, _MAX_HEADER_BYTES)

    def fail(self, what: str) -> NoReturn:
        _fail(self.path, what)

    def take(self, count: int, what: str) -> bytes:
        """Return the next bytes."""
        self._require(count, what)
        start, self.position = self.position, self.position + count
        return bytes(self._data[start : self.position])

    def _require(self, count: int, what: str) -> None:
        end = self.position + count
        if end > self._size:
            limit = "" if self._size == self.file_size else ", of which a header has at most"
            self.fail(
                f"{what}: needs {count} bytes at byte {self.position}, the file has "
                f"{self.file_size}{limit and f'{limit} {self._size}'} (truncated or corrupt)"
            )
        held = len(self._data)
        if end > held:
            more = bytearray(min(self._size, end + _READ_AHEAD) - held)
            self._file.fill(memoryview(more), held)
            self._data += more

    def u32(self, what: str) -> int:
        return int(_U32.unpack(self.take(4, what))[0])

    def u64(self, what: str) -> int:
        return int(_U64.unpack(self.take(8, what))[0])

    def count(self, what: str, least: int, most: int = _MAX_HEADER_BYTES) -> int:
        """Return a number of things of which each takes so many bytes at least."""
        count = self.u64(what)
        if most < count <= self._size:
            self.fail(f"{what} is {count}, expected at most {most}")
        if count * least > self._size - self.position:
            self.fail(f"{what} is {count}, more than the {self.file_size} bytes of the file hold")
        return count

    def text(self, what: str, most: int = _MAX_HEADER_BYTES) -> str:
        length = self.u64(f"length of {what}")
        if length > most:
            self.fail(f"{what} has {length} bytes, expected at most {most}")
        try:
            return self.take(length, what).decode()
        except UnicodeDecodeError as error:
            self._not_text(what, error)

    def texts(self, count: int, what: str) -> list[str]:
        """Return as many strings: a vocabulary has some hundred thousand."""
        found: list[str] = []
        data, length_at = self._data, _U64.unpack_from  # the data grow in place
        for index in range(count):
            if self.position + 8 > len(data):
                self._require(8, f"{what}, length of string {index}")
            (length,) = length_at(data, self.position)
            start = self.position = self.position + 8
            if start + length > len(data):
                self._require(length, f"{what}, string {index}")
            self.position = start + length
            try:
                found.append(data[start : self.position].decode())
            except UnicodeDecodeError as error:
                self._not_text(f"{what}, string {index}", error)
        return found

    def _not_text(self, what: str, error: UnicodeDecodeError) -> NoReturn:
        self.fail(f"{what}: expected UTF-8, got another byte at {error.start} of it")


def _fail(path: Path, what: str) -> NoReturn:
    raise ValueError(f"{path}: not a valid GGUF file: {what}")


def _check_version(cursor: _Cursor) -> None:
    magic = cursor.take(4, "the first four bytes")
    if magic != b"GGUF":
        cursor.fail(f"it begins with {magic!r}, expected b'GGUF'")
    version = cursor.u32("version")
    if version not in (2, 3):
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        if swapped in (1, 2, 3):
            cursor.fail(
                f"version {swapped}, big endian: expected numbers with the least byte first"
            )
        cursor.fail(f"version {version}, expected 2 or 3")


def _value(cursor: _Cursor, what: str) -> Any:
    kind = cursor.u32(f"{what}, type")
    if kind == _STRING:
        return cursor.text(what)
    if kind != _ARRAY:
        return _numbers(cursor, kind, 1, what)[0].item()
    kind = cursor.u32(f"{what}, type of the array")
    if kind == _ARRAY:
        cursor.fail(f"{what} is an array of arrays, which is not read here")
    least = 8 if kind == _STRING else _scalar(cursor, kind, what).itemsize
    count = cursor.count(f"{what}, length of the array", least)
    return cursor.texts(count, what) if kind == _STRING else _numbers(cursor, kind, count, what)


def _scalar(cursor: _Cursor, kind: int, what: str) -> np.dtype[Any]:
    if kind not in _SCALARS:
        cursor.fail(f"{what} has values of type {kind}, expected 0 to 12")
    return _SCALARS[kind]


def _numbers(cursor: _Cursor, kind: int, count: int, what: str) -> Any:
    dtype = _scalar(cursor, kind, what)
    content = cursor.take(count * dtype.itemsize, what)
    if dtype == np.bool_:
        largest = np.frombuffer(content, np.uint8).max(initial=0)
        if largest > 1:
            cursor.fail(f"{what} has a boolean of {largest}, expected 0 or 1")
    return np.frombuffer(content, dtype)


def _checked_alignment(cursor: _Cursor, value: Any) -> int:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if not is_number or not 1 <= value <= _MAX_ALIGNMENT or value & (value - 1):
        cursor.fail(
            f"key {_ALIGNMENT!r} is {shown(value)}, expected a power of two up to {_MAX_ALIGNMENT}"
        )
    return int(value)


def _tensor(cursor: _Cursor, what: str, alignment: int) -> TensorInfo:
    """Return a tensor whose bytes are counted from the beginning of the data."""
    rank = cursor.u32(f"{what}, number of dimensions")
    if not 1 <= rank <= _MAX_RANK:
        cursor.fail(f"{what} has {rank} dimensions, expected 1 to {_MAX_RANK}")
    sizes = struct.unpack(f"<{rank}Q", cursor.take(8 * rank, f"{what}, dimensions"))
    if 0 in sizes:
        cursor.fail(f"{what} has the dimensions {shown(list(sizes))}, expected none of 0")
    number = cursor.u32(f"{what}, type")
    if number not in FORMATS:
        cursor.fail(f"{what} has the unknown type {number}")
    kind = FORMATS[number]
    if sizes[0] % kind.values:
        cursor.fail(
            f"{what} of type {kind.name} has rows of {sizes[0]} values, expected a multiple of "
            f"{kind.values}"
        )
    begin = cursor.u64(f"{what}, offset")
    if begin % alignment:
        cursor.fail(f"{what} begins at offset {begin}, expected a multiple of {alignment}")
    # Python integers: a product of absurd sizes cannot wrap around. The first dimension is the
    # innermost.
    size = math.prod(sizes) // kind.values * kind.nbytes
    return TensorInfo(kind.name, sizes[::-1], begin, begin + size)


def _placed(cursor: _Cursor, tensors: dict[str, TensorInfo], start: int) -> dict[str, TensorInfo]:
    """Return tensors by their places in the file, within it and apart from each other."""
    size, before, last = cursor.file_size, "", start
    placed = {
        name: info._replace(begin=start + info.begin, end=start + info.end)
        for name, info in tensors.items()
    }
    for name, info in sorted(placed.items(), key=lambda item: item[1].begin):
        where = f"tensor {shown(name)} of type {info.dtype} and shape {shown(info.shape)} lies at"
        if info.end > size:
            cursor.fail(
                f"{where} bytes {info.begin} to {info.end}, the file has {size} "
                "(truncated or corrupt)"
            )
        if info.begin < last:
            cursor.fail(f"{where} byte {info.begin}, before the end of tensor {shown(before)}")
        before, last = name, info.end
    return placed
