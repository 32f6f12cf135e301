# SPDX-License-Identifier: Apache-2.0
"""Tensors of a file that ``torch.save`` wrote, without PyTorch and without running what it says.

Such a file is a pickle, which is a program, with the tensors' bytes behind it: members of a zip
since PyTorch 1.6, one after another before. Here the program may build dicts, and descriptions of
tensors; whatever else it asks for is refused by name.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import pickletools
import weakref
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from octavo._files import open_file
from octavo._text import shown
from octavo._types import Array
from octavo.io.header import DTYPES, TensorInfo

_STORAGES = {
    "BFloat16Storage": "BF16",
    "BoolStorage": "BOOL",
    "ByteStorage": "U8",
    "CharStorage": "I8",
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "IntStorage": "I32",
    "LongStorage": "I64",
    "ShortStorage": "I16",
}
# What the first pickle of the older form holds.
_MAGIC = 0x1950A86A20F9469CFC6C
_MAX_PICKLE_BYTES = 64 << 20
# What torch.save writes, of the second protocol. Others reserve memory for sizes that they claim.
_OPCODES = frozenset(
    """
    APPEND APPENDS BINFLOAT BINGET BININT BININT1 BININT2 BINPERSID BINPUT BINUNICODE BUILD
    EMPTY_DICT EMPTY_LIST EMPTY_TUPLE GLOBAL LONG1 LONG_BINGET LONG_BINPUT MARK NEWFALSE NEWTRUE
    NONE PROTO REDUCE SETITEM SETITEMS SHORT_BINSTRING STOP TUPLE TUPLE1 TUPLE2 TUPLE3
    """.split()  # noqa: SIM905
)


class _Storage(NamedTuple):
    """The bytes that a tensor lies in."""

    key: str
    dtype: str
    size: int


class _Tensor(NamedTuple):
    """A tensor as the pickle describes it; offset and strides in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class TorchFile:
    """A file of ``torch.save`` with tensors by their names; each is read when it is asked for.

    Parameters
    ----------
    path : str or os.PathLike
        The file, such as ``pytorch_model.bin``.
    file : binary file, optional
        The same, opened before; it is kept open.

    Raises
    ------
    ValueError
        If it holds something else than tensors by their names, or contradicts itself; the message
        names the file and what it asks for.
    """

    def __init__(self, path: str | os.PathLike[str], file: BinaryIO | None = None) -> None:
        self.path = Path(path)
        self._file = file or open_file(self.path)
        close = weakref.finalize(self, self._file.close)
        self._archive: zipfile.ZipFile | None = None
        self._begins: dict[str, tuple[int, int]] = {}  # of a storage: where, and how many values
        try:
            self._size = self._file.seek(0, os.SEEK_END)
            self._file.seek(0)
            is_zip = self._file.read(2) == b"PK"
            self._file.seek(0)
            found = self._zipped() if is_zip else self._older()
            self._found = _checked(found)
        except (OSError, MemoryError):
            close()
            raise
        except Exception as error:  # a pickle can raise whatever it likes
            close()
            raise self._error(f"{type(error).__name__} {error}") from None
        self.tensors = {
            name: TensorInfo(tensor.storage.dtype, tensor.shape, 0, 0)
            for name, tensor in self._found.items()
        }

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def array(self, name: str, rows: tuple[int, int] | None = None) -> Array:
        """Return tensor `name`, read-only, or some rows of it; as `TensorFile.array`."""
        tensor = self._found.get(name)
        if tensor is None:
            raise ValueError(f"{self.path}: no tensor named {shown(name)}")
        dtype = np.dtype(DTYPES[tensor.storage.dtype])
        values = np.frombuffer(self._content(tensor.storage, dtype.itemsize), dtype)
        strides = tuple(dtype.itemsize * stride for stride in tensor.strides)
        view = np.lib.stride_tricks.as_strided(
            values[tensor.offset :], tensor.shape, strides, writeable=False
        )
        return view if rows is None else view[slice(*rows)]

    def _content(self, storage: _Storage, itemsize: int) -> bytes:
        size = storage.size * itemsize
        if self._archive is not None:
            try:
                content = self._archive.read(self._member(f"data/{storage.key}"))
            except OSError:
                raise
            except Exception as error:  # zipfile has a kind for each thing that it does not read
                raise self._error(f"{type(error).__name__} {error}") from None
        else:
            begin, count = self._begins.get(storage.key, (0, -1))
            self._file.seek(begin)
            content = self._file.read(size) if count == storage.size else b""
        if len(content) < size:
            raise self._error(f"storage {shown(storage.key)} has not the {size} bytes it should")
        return content

    def _member(self, name: str) -> zipfile.ZipInfo:
        """Return a member of the archive; PyTorch packs none of them."""
        assert self._archive is not None
        ends = [one for one in self._archive.infolist() if one.filename.endswith(f"/{name}")]
        if len(ends) != 1 or ends[0].compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"expected one member {name}, stored as it is")
        # zipfile takes memory for what is claimed.
        if max(ends[0].file_size, ends[0].compress_size) > self._size:
            raise ValueError(f"member {name} is larger than the file")
        return ends[0]

    def _zipped(self) -> Any:
        self._archive = zipfile.ZipFile(self._file)
        order = [one for one in self._archive.namelist() if one.endswith("/byteorder")]
        if order and self._archive.read(self._member("byteorder")) != b"little":
            raise ValueError("expected numbers with the least byte first")
        member = self._member("data.pkl")
        if max(member.file_size, member.compress_size) > _MAX_PICKLE_BYTES:
            raise ValueError(f"expected at most {_MAX_PICKLE_BYTES} bytes in data.pkl")
        return _Unpickler(io.BytesIO(self._archive.read(member))).load()

    def _older(self) -> Any:
        content = io.BytesIO(self._file.read(_MAX_PICKLE_BYTES))
        magic, _, system = (_Unpickler(content).load() for _ in range(3))
        if magic != _MAGIC:
            raise ValueError("it does not begin as such a file does")
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise ValueError("expected numbers with the least byte first")
        reader = _Unpickler(content)
        found, keys = reader.load(), _Unpickler(content).load()
        if not isinstance(keys, list):
            raise TypeError("expected a list of storages")
        place = content.tell()
        for key in keys:
            storage = reader.storages.get(key) if isinstance(key, str) else None
            if storage is None:
                raise ValueError(f"storage {shown(key)} belongs to no tensor")
            self._file.seek(place)
            count = int.from_bytes(self._file.read(8), "little")
            self._begins[key] = (place + 8, count)
            place += 8 + count * np.dtype(DTYPES[storage.dtype]).itemsize
        return found

    def _error(self, what: str) -> ValueError:
        return ValueError(f"{self.path}: not tensors by their names: {shown(what)}")


class _Unpickler(pickle.Unpickler):
    """Reads a pickle that builds nothing but dicts, plain values and descriptions of tensors."""

    def __init__(self, content: io.BytesIO) -> None:
        super().__init__(io.BytesIO(_one_pickle(content)), encoding="utf-8")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return what the pickle may call."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _parameter
        raise ValueError(f"it asks for {module}.{name}, which is not read here")

    def persistent_load(self, pid: Any) -> _Storage:
        """Return the description of a tensor's bytes."""
        kind, dtype, key, _, count = pid[:5]
        if kind != "storage" or dtype not in _STORAGES.values() or not isinstance(key, str):
            raise ValueError(f"storage {shown(pid)} is not read here")
        if not isinstance(count, int) or count < 0 or any(pid[5:]):
            raise ValueError(f"storage {shown(key)} has {shown(pid[4:])} values")
        return self.storages.setdefault(key, _Storage(key, dtype, count))


def _one_pickle(content: io.BytesIO) -> bytes:
    """Take a pickle from the bytes that it may be the first of; refuse unusual instructions."""
    start = content.tell()
    for index, (code, argument, _) in enumerate(pickletools.genops(content)):
        if code.name not in _OPCODES:
            raise ValueError(f"the instruction {code.name} is not read here")
        if code.name == "LONG_BINPUT" and int(argument or 0) > index:
            raise ValueError(f"it keeps value {argument} before it has so many")
    stop = content.tell()
    content.seek(start)
    return content.read(stop - start)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _checked(found: Any) -> dict[str, _Tensor]:
    """Return tensors by their names, each within its storage."""
    if not isinstance(found, dict):
        raise TypeError(f"expected a dict, got {type(found).__name__}")
    for name, tensor in found.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            kind = type(tensor).__name__
            raise TypeError(f"{shown(name)}: expected a tensor, got {kind}")
        storage, offset, shape, strides = tensor
        numbers = (offset, *shape, *strides)
        if (
            not isinstance(storage, _Storage)
            or len(shape) != len(strides)
            or any(type(number) is not int or number < 0 for number in numbers)
        ):
            raise ValueError(f"tensor {shown(name)} is described by {shown(tensor[1:])}")
        last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
        size = math.prod(shape)
        if size and (last >= storage.size or size > storage.size):
            raise ValueError(f"tensor {shown(name)} is larger than its {storage.size} values")
    return dict(found)
