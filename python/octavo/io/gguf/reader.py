# SPDX-License-Identifier: Apache-2.0
"""A GGUF file, or all parts of one that was split, read tensor by tensor."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from octavo._files import open_file
from octavo._text import shown
from octavo._types import Array, Float32
from octavo.io.file_bytes import FileBytes
from octavo.io.gguf.decode import decode
from octavo.io.gguf.formats import FORMATS, LAYOUTS
from octavo.io.gguf.header import Header, read_header
from octavo.io.header import TensorInfo

_PART = re.compile(r"(.*-)(\d{5})-of-(\d{5})\.gguf", re.DOTALL)
# What is decoded at once stays in the caches.
_BLOCK_BYTES = 1 << 17
_KINDS = {kind.name: kind for kind in FORMATS.values()}


class GgufFile:
    """An open GGUF file; each tensor is read when it is asked for, into memory of its own.

    Use `open_gguf`. It can be used in ``with``, and is closed at the latest when nobody needs it.

    Attributes
    ----------
    path : pathlib.Path
        The file; of one that was split, the first part.
    metadata : mapping of str to object
        Values by keys: numbers, booleans, strings; arrays as read-only ndarrays, of strings as
        lists.
    tensors : dict of str to TensorInfo
        Shape in NumPy's order, name of the type ("Q4_1") and bytes of each tensor.
    """

    def __init__(self, parts: list[tuple[FileBytes, Header]]) -> None:
        first, header = parts[0]
        self.path = first.path
        self.metadata: Mapping[str, Any] = MappingProxyType(header.metadata)
        self.tensors: dict[str, TensorInfo] = {}
        self._files = [file for file, _ in parts]
        self._file_of: dict[str, FileBytes] = {}
        for file, part in parts:
            for name, info in part.tensors.items():
                if name in self.tensors:
                    raise ValueError(
                        f"{file.path}: tensor {shown(name)} is in {self._file_of[name].path} too"
                    )
                self.tensors[name], self._file_of[name] = info, file

    def __enter__(self) -> GgufFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __repr__(self) -> str:
        return f"GgufFile({str(self.path)!r}, tensors={len(self.tensors)})"

    def close(self) -> None:
        """Close the file; arrays that were read stay."""
        for file in self._files:
            file.close()

    def digests(self) -> list[str]:
        """Return the digest of each part's bytes, SHA-256."""
        return [file.digest() for file in self._files]

    def packed(self, name: str, rows: tuple[int, int] | None = None) -> Array:
        """Return a tensor as it is stored, uint8: the last dimension counts bytes.

        Parameters
        ----------
        name : str
        rows : (int, int), optional
            Only the part from here to there along the first dimension.

        Raises
        ------
        ValueError
            If there is no such tensor.
        OSError
            If the file was changed since it was opened.
        """
        info, start, shape = self._part(name, rows)
        kind = _KINDS[info.dtype]
        bytes_of_row = shape[-1] // kind.values * kind.nbytes
        found = np.empty((*shape[:-1], bytes_of_row), np.uint8)
        self._read(name, start // kind.values * kind.nbytes, found)
        return found

    def float32(
        self,
        name: str,
        shape: tuple[int, ...] | None = None,
        rows: tuple[int, int] | None = None,
    ) -> Float32:
        """Return a tensor's values as float32.

        Parameters
        ----------
        name : str
        shape : tuple of int, optional
            The shape that it must have.
        rows : (int, int), optional
            Only the part from here to there along the first dimension.

        Raises
        ------
        ValueError
            If there is no such tensor, or it has another shape, or a type that is not read.
        OSError
            If the file was changed since it was opened.
        """
        info, start, part = self._part(name, rows)
        if shape is not None and info.shape != shape:
            raise ValueError(
                f"{self._file_of[name].path}: tensor {shown(name)} has shape {info.shape}, "
                f"expected {shape}"
            )
        if info.dtype not in LAYOUTS:
            raise ValueError(
                f"{self._file_of[name].path}: tensor {shown(name)} has the type {info.dtype}, "
                f"which is not read; expected {', '.join(LAYOUTS)}"
            )
        values = np.empty(part, np.float32)
        self._decode(name, info, start, values.reshape(-1))
        return values

    def row_blocks(self, name: str, most: int) -> Iterator[tuple[int, Float32]]:
        """Yield a tensor's rows some at a time, as float32: where they begin, and their values.

        Parameters
        ----------
        name : str
        most : int
            Bytes that the values may take at once, if a row does not take more.
        """
        info, _, shape = self._part(name, None)
        # Of a vector, blocks are what is read at least.
        least = 1 if len(shape) > 1 else _KINDS[info.dtype].values
        step = max(least, most // (4 * math.prod(shape[1:])) // least * least)
        for start in range(0, shape[0], step):
            yield start, self.float32(name, rows=(start, min(start + step, shape[0])))

    def _part(
        self, name: str, rows: tuple[int, int] | None
    ) -> tuple[TensorInfo, int, tuple[int, ...]]:
        """Return a tensor, at which value some rows of it begin, and their shape."""
        info = self.tensors.get(name)
        if info is None:
            raise ValueError(f"{self.path}: no tensor named {shown(name)}")
        if rows is None:
            return info, 0, info.shape
        start, stop, _ = slice(*rows).indices(info.shape[0])
        of_row = math.prod(info.shape[1:])
        unit = _KINDS[info.dtype].values
        if start * of_row % unit or stop * of_row % unit:
            raise ValueError(
                f"rows: expected multiples of {unit}, of which a block of tensor {shown(name)} "
                f"consists, got {rows}"
            )
        return info, start * of_row, (max(0, stop - start), *info.shape[1:])

    def _read(self, name: str, start: int, target: Array) -> None:
        """Read bytes of a tensor from `start` on."""
        begin = self.tensors[name].begin + start
        self._file_of[name].fill(target.reshape(-1).data, begin)

    def _decode(self, name: str, info: TensorInfo, start: int, values: Float32) -> None:
        """Write values from `start` on, some blocks at a time."""
        kind = _KINDS[info.dtype]
        step = _BLOCK_BYTES // kind.nbytes * kind.values
        packed = np.empty(min(step, len(values)) // kind.values * kind.nbytes, np.uint8)
        for first in range(0, len(values), step):
            part = values[first : first + step]
            blocks = packed[: len(part) // kind.values * kind.nbytes]
            self._read(name, (start + first) // kind.values * kind.nbytes, blocks)
            decode(kind.name, blocks, part)


def open_gguf(path: str | os.PathLike[str]) -> GgufFile:
    """Open a GGUF file of version 2 or 3, and check all that it says of itself.

    Nothing of it is mapped: what becomes of the file later does not reach what was read, and a
    change while it is read is noticed.

    Parameters
    ----------
    path : str or os.PathLike
        The file; of one that was split (``...-00001-of-00003.gguf``) any part, the others lie
        beside it.

    Returns
    -------
    GgufFile
        Tensors of the types F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K, IQ4_NL,
        IQ4_XS, TQ1_0, TQ2_0 and MXFP4 are read as float32.

    Raises
    ------
    ValueError
        If it is not a whole, consistent GGUF file; the message names the file and the field.
    OSError
        If it, or a part of it, is missing or cannot be read.

    Examples
    --------
    >>> import octavo
    >>> try:
    ...     octavo.io.open_gguf("no/such/model.gguf")
    ... except FileNotFoundError as error:
    ...     print(error)
    [Errno 2] No such file or directory: 'no/such/model.gguf'
    """
    path = Path(path)
    with contextlib.ExitStack() as unneeded:
        parts = [_opened(path, unneeded)]
        count = _split(parts[0][1], "count", path)
        if count is not None and count > 1:
            parts = _all_parts(path, count, unneeded)
        file = GgufFile(parts)
        promised = _split(parts[0][1], "tensors.count", path)
        if count is not None and promised not in (None, len(file.tensors)):
            raise ValueError(
                f"{path}: key 'split.tensors.count' is {promised}, the parts have "
                f"{len(file.tensors)} tensors"
            )
        unneeded.pop_all()
    return file


def _opened(path: Path, unneeded: contextlib.ExitStack) -> tuple[FileBytes, Header]:
    file = FileBytes(path, open_file(path))
    unneeded.callback(file.close)
    return file, read_header(file)


def _all_parts(
    path: Path, count: int, unneeded: contextlib.ExitStack
) -> list[tuple[FileBytes, Header]]:
    """Open all parts of a split file, in order."""
    found = _PART.fullmatch(path.name)
    if found is None or int(found[3]) != count:
        raise ValueError(
            f"{path}: is one of {count} parts, expected a name that ends in "
            f"-00001-of-{count:05}.gguf"
        )
    parts = []
    for index in range(count):
        place = path.with_name(f"{found[1]}{index + 1:05}-of-{found[3]}.gguf")
        try:
            part = _opened(place, unneeded)
        except FileNotFoundError:
            raise FileNotFoundError(f"{place}: missing, part {index + 1} of {count}") from None
        number, of = (_split(part[1], key, place) for key in ("no", "count"))
        if (number, of) != (index, count):
            raise ValueError(
                f"{place}: says that it is part {shown(number)} of {shown(of)}, counted from 0; "
                f"expected {index} of {count}"
            )
        parts.append(part)
    return parts


def _split(header: Header, key: str, path: Path) -> int | None:
    value = header.metadata.get(f"split.{key}")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise ValueError(f"{path}: key 'split.{key}' is {shown(value)}, expected an integer")
    return value
