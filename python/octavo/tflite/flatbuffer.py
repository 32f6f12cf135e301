# SPDX-License-Identifier: Apache-2.0
"""Flatbuffers from strangers, read by the tables of the schema: no place is believed unchecked.

A table begins with the way back to its list of fields, in which a place of 0 stands for one that
is left out. A field holds a number, or how many bytes further on a table, a text or a vector is.
"""

from __future__ import annotations

import struct
from typing import Any, NoReturn

import numpy as np

from octavo._text import shown
from octavo._types import Array
from octavo.tflite.schema import ENUMS, IDENTIFIER, SCALARS, TABLES, Field

_FORMATS = {name: struct.Struct(f"<{code}") for name, code in SCALARS.items()}
_DTYPES = {name: np.dtype(f"<{form.format[1:]}") for name, form in _FORMATS.items()}
_U16, _U32, _I32 = _FORMATS["uint16"], _FORMATS["uint32"], _FORMATS["int32"]
_TABLE_COST = 16


class FlatBuffer:
    """A file's bytes, and how many of them may still be read.

    Tables may share what they point to, so that a small file could stand for a huge one. What is
    read counts, and ends at a few times the file.

    Parameters
    ----------
    content : ndarray of uint8
        The whole file.
    name : str
        What messages call it.
    """

    def __init__(self, content: Array, name: str) -> None:
        self.content, self.name = content, name
        self._memory = content.data
        self.size = len(content)
        self._left = 4 * self.size + 1024

    def root(self, table: str) -> Table:
        """Return the table that the file consists of.

        Raises
        ------
        ValueError
            If it is no TensorFlow Lite file.
        """
        if self.size < 8 or bytes(self._memory[4:8]) != IDENTIFIER:
            self.fail("", f"expected {IDENTIFIER!r} at byte 4; this is no TensorFlow Lite file")
        return self.table_at(0, TABLES[table], "")

    def fail(self, where: str, what: str) -> NoReturn:
        """Raise ValueError for what is at a place in the file."""
        raise ValueError(": ".join(filter(None, (self.name, where, what))))

    def unpack(self, form: struct.Struct, begin: int, where: str) -> Any:
        """Return the number at a byte."""
        self.check(begin, form.size, where)
        return form.unpack_from(self._memory, begin)[0]

    def check(self, begin: int, count: int, where: str) -> None:
        """Refuse bytes that the file does not have."""
        if begin < 0 or begin + count > self.size:
            self.fail(where, f"expected {count} bytes at byte {begin}, the file has {self.size}")

    def count(self, nbytes: int, where: str) -> None:
        """Count bytes as read."""
        self._left -= nbytes
        if self._left < 0:
            self.fail(where, f"its tables point to the same {self.size} bytes too often")

    def target(self, begin: int, where: str) -> int:
        """Return to which byte the one at `begin` points."""
        return begin + int(self.unpack(_U32, begin, where))

    def table_at(self, begin: int, fields: dict[str, Field], where: str) -> Table:
        """Return the table to which a byte points."""
        return Table(self, self.target(begin, where), fields, where)

    def vector_at(self, begin: int, itemsize: int, where: str) -> tuple[int, int]:
        """Return the first byte and the length of the vector to which a byte points."""
        first = self.target(begin, where)
        length = int(self.unpack(_U32, first, where))
        self.check(first + 4, length * itemsize, f"{where}, {length} elements")
        return first + 4, length

    def text_at(self, begin: int, where: str) -> str:
        """Return the text to which a byte points."""
        first, length = self.vector_at(begin, 1, where)
        self.count(length, where)
        return bytes(self._memory[first : first + length]).decode("utf-8", "backslashreplace")


class Table:
    """A table of a file, whose fields are read when they are asked for.

    Parameters
    ----------
    buffer : FlatBuffer
    begin : int
        Its first byte.
    fields : dict of str to Field
        What the schema says of it.
    where : str
        What messages call it.
    """

    def __init__(
        self, buffer: FlatBuffer, begin: int, fields: dict[str, Field], where: str
    ) -> None:
        self.buffer, self.where = buffer, where
        self._begin, self._fields = begin, fields
        buffer.count(_TABLE_COST, where)
        self._places = begin - int(buffer.unpack(_I32, begin, where))
        size = int(buffer.unpack(_U16, self._places, where))
        if size < 4 or size % 2:
            buffer.fail(where, f"expected its fields listed in 4, 6, 8, ... bytes, got {size}")
        buffer.check(self._places, size, where)
        self._count = (size - 4) // 2

    def __getitem__(self, name: str) -> Any:
        """Return a field; None of what is left out and is no number.

        Numbers with names are those; vectors are lists of tables, or arrays that look into the
        file.
        """
        field, where = self._fields[name], self.path(name)
        place = self._place(field.number)
        if not place:
            return field.absent
        if field.is_vector:
            return self._vector(field, place, where)
        if field.type in TABLES:
            return self.buffer.table_at(place, TABLES[field.type], where)
        if field.type == "string":
            return self.buffer.text_at(place, where)
        names = ENUMS.get(field.type)
        number = self.buffer.unpack(_FORMATS["int8" if names else field.type], place, where)
        if not names:
            return number
        if not 0 <= number < len(names):
            self.buffer.fail(where, f"expected a number below {len(names)}, got {number}")
        return names[number]

    @property
    def titled(self) -> str:
        """What messages call a table that has a name."""
        name = self["name"]
        return f"{self.where} ({shown(name)})" if name else self.where

    def path(self, name: str) -> str:
        """Return what messages call a field."""
        return f"{self.where}.{name}" if self.where else name

    def union(self, name: str, fields: dict[str, Field]) -> Table | None:
        """Return a field of which another one tells what table it is."""
        place = self._place(self._fields[name].number)
        return self.buffer.table_at(place, fields, self.path(name)) if place else None

    def unknown(self) -> list[int]:
        """Return the numbers of fields that are there and that the schema does not have."""
        known = {field.number for field in self._fields.values()}
        return [n for n in range(self._count) if n not in known and self._place(n)]

    def values(self) -> dict[str, Any]:
        """Return all fields; vectors of numbers as tuples of integers."""
        found = {name: self[name] for name in self._fields}
        return {
            name: tuple(value.tolist()) if isinstance(value, np.ndarray) else value
            for name, value in found.items()
        }

    def _place(self, number: int) -> int:
        """Return the byte of a field, 0 if it is left out."""
        if number >= self._count:
            return 0
        offset = int(self.buffer.unpack(_U16, self._places + 4 + 2 * number, self.where))
        return self._begin + offset if offset else 0

    def _vector(self, field: Field, place: int, where: str) -> Any:
        buffer = self.buffer
        if field.type in TABLES:
            first, length = buffer.vector_at(place, 4, where)
            fields = TABLES[field.type]
            return [buffer.table_at(first + 4 * i, fields, f"{where}[{i}]") for i in range(length)]
        dtype = _DTYPES[field.type]
        first, length = buffer.vector_at(place, dtype.itemsize, where)
        if dtype != np.uint8:  # bytes are looked at, others are read one by one
            buffer.count(length * dtype.itemsize, where)
        return buffer.content[first : first + length * dtype.itemsize].view(dtype)
