# SPDX-License-Identifier: Apache-2.0
"""The safetensors file format, memory-mapped for reading and streamed for writing.

The file is an 8-byte little-endian header length, a JSON header, and the tensors' bytes.
The ``safetensors`` package copies every tensor it hands to NumPy and wants all tensors in memory
to write a file; a model that is compressed tensor by tensor can afford neither.
"""

from __future__ import annotations

import bisect
import io
import json
import math
import mmap
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from octavo.io.zstd_file import FrameWriter, read_frames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["TensorFile", "TensorInfo", "TensorPlan", "write_tensor_file"]

Array = npt.NDArray[Any]

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000
_MAX_RANK = 32
_MAX_EXTENT = 1 << 48
_DATA_ALIGNMENT = 64

# BF16 has no NumPy type: its raw bits are handed out as uint16 and `TensorInfo.dtype` tells.
_DTYPES: dict[str, str] = {
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
_NAMES = {np.dtype(code).str: name for name, code in _DTYPES.items() if name != "BF16"}


class TensorInfo(NamedTuple):
    """One tensor as the header describes it: format name of its type, shape, byte range."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


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
    """A safetensors file, memory-mapped; every tensor is a read-only view of the mapping.

    The whole header is checked against the file's size before anything is mapped or allocated.
    A file that ends in ``.zst`` (`octavo.io.zstd_file`) is decompressed into memory instead, and
    all of it is checked first.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

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

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._content: mmap.mmap | memoryview
        if self.path.suffix == ".zst":
            content = memoryview(read_frames(self.path, _tensor_at)).toreadonly()
            header, start = _read_header(self.path, io.BytesIO(content), len(content))
            self.tensors = _check_header(self.path, header, len(content) - start)
            self._content = content
        else:
            with self.path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                header, start = _read_header(self.path, file, size)
                self.tensors = _check_header(self.path, header, size - start)
                self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._data_start = start

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __repr__(self) -> str:
        return f"TensorFile({str(self.path)!r}, tensors={len(self.tensors)})"

    def array(self, name: str) -> Array:
        """Return tensor `name` as a read-only view (bfloat16 as the uint16 of its bits)."""
        info = self.tensors.get(name)
        if info is None:
            raise ValueError(f"{self.path}: no tensor named {name!r}")
        code = _DTYPES.get(info.dtype)
        if code is None:
            raise ValueError(f"{self.path}: tensor {name!r} has the unsupported type {info.dtype}")
        flat: Array = np.frombuffer(
            self._content,
            dtype=np.dtype(code),
            count=math.prod(info.shape),
            offset=self._data_start + info.begin,
        )
        return flat.reshape(info.shape)


def _tensor_at(head: bytes, start: int, stop: int) -> str:
    """Name the tensor that lies at bytes `start` to `stop` of a file that begins with `head`."""
    path = Path("header")
    try:
        header, begins = _read_header(path, io.BytesIO(head), len(head))
    except ValueError:
        return ""
    offsets = {
        entry["data_offsets"][0]: name
        for name, entry in header.items()
        if isinstance(entry, dict) and isinstance(entry.get("data_offsets"), list)
    }
    ordered = sorted(begin for begin in offsets if isinstance(begin, int))
    found = bisect.bisect_right(ordered, start - begins) - 1
    return f" (tensor {offsets[ordered[found]]!r})" if found >= 0 and stop > start else ""


def _fail(path: Path, what: str) -> NoReturn:
    raise ValueError(f"{path}: not a valid safetensors file: {what}")


def _read_header(path: Path, file: Any, size: int) -> tuple[dict[str, Any], int]:
    if size < _LENGTH_BYTES:
        _fail(path, f"{size} bytes, too short for a header")
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    if length > min(_MAX_HEADER_BYTES, size - _LENGTH_BYTES):
        _fail(path, f"header of {length} bytes in a file of {size} (truncated or corrupt)")
    try:
        header = json.loads(file.read(length).decode("utf-8"), object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        _fail(path, f"header is not JSON ({error})")
    if not isinstance(header, dict):
        _fail(path, "header is not a JSON object")
    return header, _LENGTH_BYTES + length


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name occurs twice")
    return table


def _check_header(path: Path, header: dict[str, Any], data_bytes: int) -> dict[str, TensorInfo]:
    tensors = {
        name: _check_entry(path, name, entry, data_bytes)
        for name, entry in header.items()
        if name != "__metadata__"
    }
    position = 0
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if info.begin != position:
            _fail(path, f"tensor {name!r} begins at byte {info.begin}, expected {position}")
        position = info.end
    if position != data_bytes:
        _fail(path, f"tensors cover {position} of {data_bytes} data bytes")
    return tensors


def _is_size(value: object, limit: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= limit


def _check_entry(path: Path, name: str, entry: Any, data_bytes: int) -> TensorInfo:
    if not isinstance(entry, dict):
        _fail(path, f"tensor {name!r} has no description")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str):
        _fail(path, f"tensor {name!r} has dtype {dtype!r}")
    if not (
        isinstance(shape, list)
        and len(shape) <= _MAX_RANK
        and all(_is_size(n, _MAX_EXTENT) for n in shape)
    ):
        _fail(path, f"tensor {name!r} has an impossible shape {str(shape)[:80]}")
    if not (
        isinstance(offsets, list)
        and len(offsets) == 2
        and all(_is_size(n, data_bytes) for n in offsets)
        and offsets[0] <= offsets[1]
    ):
        _fail(
            path,
            f"tensor {name!r} lies at bytes {str(offsets)[:80]}, outside the {data_bytes} data "
            "bytes of the file (truncated or corrupt)",
        )
    info = TensorInfo(dtype, tuple(shape), offsets[0], offsets[1])
    if dtype in _DTYPES:
        # Python integers: a product of absurd extents cannot wrap around.
        expected = math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
        if expected != info.end - info.begin:
            _fail(
                path,
                f"tensor {name!r} of shape {shape} and type {dtype} needs {expected} bytes, "
                f"has {info.end - info.begin}",
            )
    return info


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
        code = plan.code or _NAMES.get(dtype.newbyteorder("<").str)
        if code is None:
            raise TypeError(f"tensor {plan.name!r} has dtype {dtype}, which cannot be stored")
        if plan.name in header:
            raise ValueError(f"tensor {plan.name!r} occurs twice")
        end = position + math.prod(plan.shape) * dtype.itemsize
        header[plan.name] = {
            "dtype": code,
            "shape": list(plan.shape),
            "data_offsets": [position, end],
        }
        position = end
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-(_LENGTH_BYTES + len(text)) % _DATA_ALIGNMENT)
    with Path(path).open("wb") as file:
        frames = FrameWriter(file) if Path(path).suffix == ".zst" else None
        sink = frames or file
        sink.write(len(text).to_bytes(_LENGTH_BYTES, "little") + text)
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
            f"tensor {plan.name!r}: planned {plan.dtype} {plan.shape}, "
            f"made {values.dtype} {values.shape}"
        )
    little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    if little.size:
        file.write(little.reshape(-1).view(np.uint8).data)
