# SPDX-License-Identifier: Apache-2.0
"""The safetensors file format, read and written tensor by tensor.

The file is an 8-byte little-endian header length, a JSON header, and the tensors' bytes.
The ``safetensors`` package wants all tensors in memory to write a file; a model that is compressed
tensor by tensor cannot afford that.  It maps files to read them; here each tensor is read into
memory of its own (`octavo.io.file_bytes`).
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from octavo._files import open_file
from octavo._text import shown
from octavo._types import Array
from octavo.io.file_bytes import FileBytes
from octavo.io.header import (
    DTYPES,
    LENGTH_BYTES,
    NAMES,
    TensorInfo,
    check_header,
    read_header,
)
from octavo.io.zstd_file import FrameWriter, read_frames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["TensorFile", "TensorInfo", "TensorPlan", "write_tensor_file"]


_DATA_ALIGNMENT = 64


class TensorPlan(NamedTuple):
    """One tensor to write: its type and shape are known before `make` computes its values.

    `code` is the format's name of the type where NumPy has none: "BF16" for uint16 bits.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    make: Callable[[], Array]
    code: str | None = None


class TensorFile:
    """A safetensors file; each tensor is read when it is asked for.

    The whole header is checked against the file's size before anything is allocated.  The file
    stays open as long as this object lives.
    A file that ends in ``.zst`` (`octavo.io.zstd_file`) is decompressed into memory instead, and
    all of it is checked first.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    file : binary file, optional
        The same, opened before, or its content; it is closed here.

    Attributes
    ----------
    metadata : dict of str to str
        What the header says beside the tensors.

    Raises
    ------
    ValueError
        If the file is not a whole, consistent safetensors file; the message names the file and,
        where there is one, the tensor.
    ModuleNotFoundError
        If it is compressed, and the package `zstandard` is not there.

    Examples
    --------
    >>> import tempfile, os, numpy as np
    >>> from octavo.io import TensorFile, TensorPlan, write_tensor_file
    >>> path = os.path.join(tempfile.mkdtemp(), "x.safetensors")
    >>> x = np.arange(6, dtype=np.float32).reshape(2, 3)
    >>> write_tensor_file(path, [TensorPlan("x", x.dtype, x.shape, lambda: x)])
    >>> TensorFile(path).array("x").shape
    (2, 3)
    """

    def __init__(self, path: str | os.PathLike[str], file: BinaryIO | None = None) -> None:
        self.path = Path(path)
        opened, packed = file or open_file(self.path), self.path.suffix == ".zst"
        self._content: memoryview | None = None
        with contextlib.ExitStack() as unneeded:
            unneeded.callback(opened.close)
            head = opened
            if packed or isinstance(opened, io.BytesIO):
                raw = opened.read()
                content = read_frames(self.path, raw, _tensor_at) if packed else raw
                self._content = memoryview(content).toreadonly()
                head, size = io.BytesIO(self._content), len(content)
            else:
                self._bytes = FileBytes(self.path, opened)
                size = self._bytes.size
            header, self._data_start = read_header(self.path, head, size)
            self.metadata: dict[str, str] = header.get("__metadata__") or {}
            self.tensors = check_header(self.path, header, size - self._data_start)
            if self._content is None:
                unneeded.pop_all()

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __repr__(self) -> str:
        return f"TensorFile({str(self.path)!r}, tensors={len(self.tensors)})"

    def array(self, name: str, rows: tuple[int, int] | None = None) -> Array:
        """Return tensor `name`, read-only (bfloat16 as the uint16 of its bits).

        Parameters
        ----------
        name : str
        rows : (int, int), optional
            Only the part from here to there along the first dimension.

        Raises
        ------
        ValueError
            If there is no such tensor, or it has a type that is not read.
        OSError
            If the file was changed since it was opened.
        """
        info = self.tensors.get(name)
        if info is None:
            raise ValueError(f"{self.path}: no tensor named {shown(name)}")
        code = DTYPES.get(info.dtype)
        if code is None:
            raise ValueError(
                f"{self.path}: tensor {shown(name)} has the unsupported type {info.dtype}"
            )
        dtype, shape, begin = np.dtype(code), info.shape, self._data_start + info.begin
        if rows is not None:
            start, stop, _ = slice(*rows).indices(shape[0])
            shape = (stop - start, *shape[1:])
            begin += start * math.prod(shape[1:]) * dtype.itemsize
        count = math.prod(shape)
        if self._content is not None:
            return np.frombuffer(self._content, dtype, count, begin).reshape(shape)
        values = np.empty(count, dtype)
        self._bytes.fill(values.view(np.uint8).data, begin)
        values.flags.writeable = False
        return values.reshape(shape)


def _tensor_at(head: bytes, start: int, stop: int) -> str:
    """Name the tensor that lies at bytes `start` to `stop` of a file that begins with `head`."""
    path = Path("header")
    try:
        header, begins = read_header(path, io.BytesIO(head), len(head))
    except ValueError:
        return ""
    found = ""
    for first, name in sorted(_offsets(header)):
        if first <= start - begins:
            found = name
    return f" (tensor {shown(found)})" if found and stop > start else ""


def _offsets(header: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """Yield where each tensor of a header that nobody has checked says it begins."""
    for name, entry in header.items():
        offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
        if isinstance(offsets, list) and offsets and isinstance(offsets[0], int):
            yield offsets[0], name


def write_tensor_file(
    path: str | os.PathLike[str],
    plans: Iterable[TensorPlan],
    metadata: dict[str, str] | None = None,
    on_tensor: Callable[[str], None] | None = None,
) -> None:
    """Write a safetensors file, one tensor in memory at a time, flushed to the disk.

    A path that ends in ``.zst`` is written compressed, the header and each tensor in chunks of
    their own. The bytes then depend on the release of zstd too.

    The bytes depend on the tensors alone, not on the order of `plans`: wider types come first
    (so every tensor is aligned), then names in order.

    Parameters
    ----------
    path : str or os.PathLike
        The file to write.
    plans : iterable of TensorPlan
        The tensors; ``make`` is called once, when the tensor's turn comes.
    metadata : dict of str to str, optional
        Stored in the header.
    on_tensor : callable, optional
        Called with each name after the tensor was written.
    """
    ordered = sorted(plans, key=lambda plan: (-np.dtype(plan.dtype).itemsize, plan.name))
    header: dict[str, Any] = {}
    if metadata:
        header["__metadata__"] = dict(sorted(metadata.items()))
    position = 0
    for plan in ordered:
        dtype = np.dtype(plan.dtype)
        code = plan.code or NAMES.get(dtype.newbyteorder("<").str)
        if code is None:
            raise TypeError(f"tensor {shown(plan.name)} has dtype {dtype}, which cannot be stored")
        if plan.name in header:
            raise ValueError(f"tensor {shown(plan.name)} occurs twice")
        end = position + math.prod(plan.shape) * dtype.itemsize
        header[plan.name] = {
            "dtype": code,
            "shape": list(plan.shape),
            "data_offsets": [position, end],
        }
        position = end
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-(LENGTH_BYTES + len(text)) % _DATA_ALIGNMENT)
    with Path(path).open("wb") as file:
        frames = FrameWriter(file) if Path(path).suffix == ".zst" else None
        sink = frames or file
        sink.write(len(text).to_bytes(LENGTH_BYTES, "little") + text)
        for plan in ordered:
            _write_tensor(sink, plan)
            if on_tensor is not None:
                on_tensor(plan.name)
        if frames is not None:
            frames.finish()
        file.flush()
        os.fsync(file.fileno())


def _write_tensor(file: Any, plan: TensorPlan) -> None:
    values = plan.make()
    if values.shape != plan.shape or values.dtype != plan.dtype:
        raise ValueError(
            f"tensor {shown(plan.name)}: planned {plan.dtype} {plan.shape}, "
            f"made {values.dtype} {values.shape}"
        )
    little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    if little.size:
        file.write(little.reshape(-1).view(np.uint8).data)
