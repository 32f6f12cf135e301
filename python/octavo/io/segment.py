# SPDX-License-Identifier: Apache-2.0
"""Memory that processes of one user share: sealed, and found by name.

A segment is a memfd of Linux: it has no file, and goes when the last process that holds it does,
however that ends.  It is sealed when it is full: nobody, its maker included, can write to it, or
cut it while others read.  Each process that holds one lists it, as a link to its own handle in
``/proc``, in a folder that is this user's alone; who looks for the name takes the first link that
leads to a segment of that name.  So it does not matter who made it, or who is still there.  A link
that leads nowhere, of a process that was killed, goes when somebody looks through the folder.

Its bytes are those of a safetensors file with the header behind the tensors, each of which begins
at a multiple of 64::

    tensors | header length: 8 | header | where the length lies: 8 | b"octavo01"
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import mmap
import os
import stat
import struct
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from octavo._files import handle_of
from octavo._types import Array
from octavo.io.header import DTYPES, LENGTH_BYTES, NAMES, check_header, read_header

if sys.platform == "linux":
    import fcntl

_MAGIC = b"octavo01"
_ALIGNMENT = 64
_LOCK = "lock"

# Handles of the segments that this process holds, with their names; and of locks.
_held: dict[int, str] = {}
_locking: set[int] = set()


class Segment:
    """Arrays over memory that other processes have too; checked, and read-only.

    The memory stays as long as an array does.  A segment does not travel: a copy of it, as by
    `pickle`, is None.

    Attributes
    ----------
    name : str
    nbytes : int
    metadata : dict of str to str
        What its maker wrote beside the arrays.
    """

    def __init__(self, name: str, memory: mmap.mmap) -> None:
        self.name, self.nbytes = name, len(memory)
        self._memory = memoryview(memory)
        path, end = Path(f"segment {name[:12]}"), self.nbytes - 16
        begin = int.from_bytes(self._memory[max(end, 0) : end + 8], "little")
        if end < 0 or self._memory[end + 8 :] != _MAGIC or begin > end - LENGTH_BYTES:
            raise ValueError(f"{path}: not a segment")
        header, size = read_header(path, io.BytesIO(self._memory[begin:end]), end - begin)
        self._tensors = check_header(path, header, begin)
        self.metadata: dict[str, str] = header.get("__metadata__") or {}
        if begin + size != end or self.metadata.get("name") != name:
            raise ValueError(f"{path}: another segment")

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return type(None), ()

    def __repr__(self) -> str:
        return f"Segment({self.name[:12]!r}, nbytes={self.nbytes})"

    def arrays(self, owner: str) -> dict[str, Array]:
        """Return the arrays that were written for an owner, by their keys."""
        prefix = f"{owner}:"
        keys = [name for name in self._tensors if name.startswith(prefix)]
        return {key.removeprefix(prefix): self._array(key) for key in keys}

    def _array(self, key: str) -> Array:
        info = self._tensors[key]
        code = DTYPES.get(info.dtype)
        if code is None:
            raise ValueError(f"segment {self.name[:12]}: type {info.dtype} is not read")
        count = math.prod(info.shape)
        return np.frombuffer(self._memory, code, count, info.begin).reshape(info.shape)


class SegmentWriter:
    """Fills a segment, array by array; see `make`."""

    def __init__(self) -> None:
        flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        self._file = os.fdopen(os.memfd_create("octavo", flags), "wb")
        self._header: dict[str, Any] = {}
        self._position = 0

    def add(self, owner: str, key: str, array: Array) -> None:
        """Write an array."""
        self._write(f"{owner}:{key}", np.ascontiguousarray(array))
        padding = -self._position % _ALIGNMENT
        if padding:
            self._write(f"padding {self._position}", np.zeros(padding, np.uint8))

    def _write(self, name: str, array: Array) -> None:
        end = self._position + array.nbytes
        self._header[name] = {
            "dtype": NAMES[array.dtype.str],
            "shape": list(array.shape),
            "data_offsets": [self._position, end],
        }
        if array.size:
            self._file.write(array.reshape(-1).view(np.uint8).data)
        self._position = end

    def seal(self, metadata: dict[str, str]) -> int:
        """Write the header; return a handle by which nobody can write any more."""
        text = json.dumps({**self._header, "__metadata__": metadata}).encode()
        begin = self._position.to_bytes(8, "little")
        with self._file as file:
            file.write(len(text).to_bytes(LENGTH_BYTES, "little") + text + begin + _MAGIC)
            file.flush()
            fcntl.fcntl(file.fileno(), fcntl.F_ADD_SEALS, _seals())
            # Old systems map what is sealed only by a handle that could not write anyway.
            return os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of what was written."""
        self._file.close()


def missing() -> str | None:
    """Say what segments need that is not here; None where there are segments."""
    if not hasattr(os, "memfd_create") or not hasattr(fcntl, "F_OFD_SETLKW"):
        return f"sealed memory is there on Linux only, and this is {sys.platform}"
    return None


def candidates(name: str) -> Iterator[Segment]:
    """Yield segments of a name that some process holds; this one then holds them too.

    One behind which the caller asks for another is of no use, and is listed no longer.

    Raises
    ------
    OSError
        If names cannot be kept here.
    """
    with _folder() as folder:
        for entry in _living(folder):
            if not entry.startswith(f"{name}."):
                continue
            try:
                yield _attached(name, *handle_of(Path(entry), entry, folder))
            except (FileNotFoundError, ValueError):
                pass
            except OSError:
                continue  # what cannot be opened here may be good for others
            _unlist(folder, entry)


def _living(folder: int) -> list[str]:
    """Return the names of links that lead somewhere, or may; the others go."""
    found = []
    for entry in os.listdir(folder):
        try:
            os.stat(entry, dir_fd=folder)
        except FileNotFoundError:
            _unlist(folder, entry)
            continue
        except OSError:
            pass
        found.append(entry)
    return found


def _unlist(folder: int, entry: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(entry, dir_fd=folder)


def make(name: str, fill: Callable[[SegmentWriter], dict[str, str]]) -> Segment:
    """Make a segment of what `fill` writes; it returns what is to stand beside it.

    Raises
    ------
    OSError
        If there is no memory for it, or names cannot be kept here.
    """
    writer = SegmentWriter()
    try:
        handle = writer.seal({**fill(writer), "name": name})
    finally:
        writer.close()
    return _attached(name, handle, os.fstat(handle))


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Wait until no other process is in this for the same name; one that dies is out of it."""
    with _folder() as folder:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.open(_LOCK, flags, 0o600, dir_fd=folder)
    # A byte stands for the name. The lock is the handle's, so that threads exclude each other too.
    place = int(name[:12], 16)
    wanted = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0)
    _locking.add(handle)
    try:
        fcntl.fcntl(handle, fcntl.F_OFD_SETLKW, wanted)
        yield
    finally:
        if handle in _locking:  # not so in a child that was forked meanwhile
            _locking.remove(handle)
            os.close(handle)


def _seals() -> int:
    return fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def _attached(name: str, handle: int, info: os.stat_result) -> Segment:
    """Return the segment of a handle, which is kept or closed; ValueError if it is none."""
    try:
        try:
            seals = fcntl.fcntl(handle, fcntl.F_GET_SEALS)
        except OSError:
            seals = 0  # a file
        if seals & _seals() != _seals() or info.st_uid != os.geteuid() or not info.st_size:
            raise ValueError("not sealed, or another user's")
        memory = mmap.mmap(handle, 0, access=mmap.ACCESS_READ)
        made = Segment(name, memory)
        _held[handle] = name
        weakref.finalize(memory, _release, handle)
        _list(handle)
    except BaseException:
        if handle not in _held:
            os.close(handle)
        raise
    return made


def _list(handle: int) -> None:
    """List a segment by a link to this process's handle."""
    with _folder() as folder:
        entry = _entry(handle)
        _unlist(folder, entry)  # of a process that had the same number
        os.symlink(f"/proc/{os.getpid()}/fd/{handle}", entry, dir_fd=folder)


def _release(handle: int) -> None:
    """Let go of a segment that no array needs any more."""
    with contextlib.suppress(OSError), _folder() as folder:
        _unlist(folder, _entry(handle))
    del _held[handle]
    os.close(handle)


def _entry(handle: int) -> str:
    return f"{_held[handle]}.{os.getpid()}.{handle}"


def _settle_child() -> None:
    """Let a forked child be found when its parent is gone, and not keep what that has locked."""
    while _locking:
        os.close(_locking.pop())
    for handle in list(_held):
        with contextlib.suppress(OSError):
            _list(handle)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_settle_child)


@contextlib.contextmanager
def _folder() -> Iterator[int]:
    """Open the folder of names: of this user, and of processes that have the same numbers."""
    numbers = Path("/proc/self/ns/pid").stat().st_ino
    path = f"/dev/shm/octavo-{os.geteuid()}-{numbers}"
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)  # noqa: PTH102
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        info = os.fstat(handle)
        if info.st_uid != os.geteuid() or stat.S_IMODE(info.st_mode) & 0o077:
            raise PermissionError(f"{path} is not this user's alone")
        yield handle
    finally:
        os.close(handle)
