# SPDX-License-Identifier: Apache-2.0
"""Reading the files of one save, also while others save into the same place.

`octavo.io.replacing` exchanges a folder for a fresh one and deletes the old one.  Who opened its
files by path, one after another, could get some of each.  So the folder is opened once and its
files relative to it; when all are read, the path must still lead to that folder and every name to
the file that was read, or everything is read again.  Where files cannot be opened relative to a
folder (Windows), that last look is all there is, and enough.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from octavo._files import handle_of, require_file
from octavo.io.folder import MAX_JSON_BYTES, parse_json
from octavo.io.replacing import is_being_replaced

T = TypeVar("T")

_ATTEMPTS = 40
_LONGEST_WAIT = 0.01
_RELATIVE = {os.open, os.stat} <= os.supports_dir_fd and os.listdir in os.supports_fd

Stamp = tuple[int, int, int, int]


def stamp_of(info: os.stat_result) -> Stamp:
    """Tell a file from another one that takes its place, and from its own later content."""
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns


class OpenFolder:
    """A folder, and the files in it that were looked at, held against what the path leads to later.

    Parameters
    ----------
    path : str or os.PathLike
        A link to a folder counts as the folder.

    Raises
    ------
    OSError
        If there is no such folder, or it is something else.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from octavo.io.snapshot import OpenFolder
    >>> place = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (place / "a.json").write_text("{}")
    >>> with OpenFolder(place) as folder:
    ...     print(folder.names(), folder.read("a.json"), folder.is_current())
    ['a.json'] b'{}' True
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._handle: int | None = None
        self._seen: dict[str, Stamp | None] = {}
        try:
            if _RELATIVE:
                self._handle = _opened(self.path)
            info = self.path.stat() if self._handle is None else os.fstat(self._handle)
        except FileNotFoundError:
            raise FileNotFoundError(f"no such folder: {self.path}") from None
        except NotADirectoryError:
            info = None
        if info is None or not stat.S_ISDIR(info.st_mode):
            raise NotADirectoryError(f"{self.path} is a file; expected a folder")
        self._identity = info.st_dev, info.st_ino

    def __enter__(self) -> OpenFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder; files that were opened stay open."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def names(self, below: str = "") -> list[str]:
        """Names of everything in the folder, or in folder `below` in it, in order."""
        if below:
            # By its path: what is another folder's is noticed when its files are looked at.
            place = self.path / below
            return sorted(os.listdir(place)) if place.is_dir() else []  # noqa: PTH208
        return sorted(os.listdir(self.path if self._handle is None else self._handle))  # noqa: PTH208

    def is_file(self, name: str) -> bool:
        """Whether there is a file `name`, or a link to one; a pipe or a device is an OSError."""
        info = self._look(name)
        if info is None or stat.S_ISDIR(info.st_mode):
            return False
        require_file(self.path / name, info)
        return True

    def size(self, name: str) -> int:
        """Bytes of file `name`; 0 if there is none."""
        info = self._look(name)
        return info.st_size if info is not None and stat.S_ISREG(info.st_mode) else 0

    def open(self, name: str) -> BinaryIO:
        """Open file `name`, which may lie in a folder below, for reading.

        Raises
        ------
        OSError
            If it is missing, cannot be read, or is no file.
        """
        return os.fdopen(self._open(name)[0], "rb")

    def read(self, name: str) -> bytes:
        """Return the content of file `name`."""
        number, size = self._open(name)
        content = b""
        try:
            # A file object would take as long again for a small file.
            while chunk := os.read(number, max(size - len(content), 1 << 12) + 1):
                content += chunk
        finally:
            os.close(number)
        return content

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a JSON object; anything else is a ValueError that names the file."""
        size = self.size(name)
        if size > MAX_JSON_BYTES:
            raise ValueError(
                f"{self.path / name}: {size} bytes is too large for a JSON description"
            )
        return parse_json(self.path / name, self.read(name))

    def _open(self, name: str) -> tuple[int, int]:
        """Return a handle of file `name`, and its size."""
        # Systems without handles of folders may describe a file otherwise than its handle.
        before = self._look(name) if self._handle is None else None
        number, info = handle_of(self.path / name, self._place(name), self._handle)
        self._seen.setdefault(name, stamp_of(before or info))
        return number, info.st_size

    def is_current(self) -> bool:
        """Whether the path still leads to this folder, and every name to the file it led to."""
        try:
            info = self.path.stat()
        except OSError:
            return False
        if (info.st_dev, info.st_ino) != self._identity:
            return False
        return all(self._stamp(name) == stamp for name, stamp in self._seen.items())

    def _look(self, name: str) -> os.stat_result | None:
        info = self._stat(name)
        # What was seen first counts: it may have been read.
        self._seen.setdefault(name, None if info is None else stamp_of(info))
        return info

    def _stamp(self, name: str) -> Stamp | None:
        info = self._stat(name)
        return None if info is None else stamp_of(info)

    def _stat(self, name: str) -> os.stat_result | None:
        try:
            return os.stat(self._place(name), dir_fd=self._handle)
        except OSError:
            return None

    def _place(self, name: str) -> str:
        return name if self._handle is not None else os.path.join(self.path, name)  # noqa: PTH118


def _opened(path: Path) -> int | None:
    """Return a handle of a folder; None for one whose files can be opened and it cannot."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        return None


def read_consistently(path: str | os.PathLike[str], read: Callable[[OpenFolder], T]) -> T:
    """Return ``read(folder)`` of a folder that nobody replaced or changed meanwhile.

    What fails in a folder that is still the same has failed for good.  Otherwise it is read again,
    a bounded number of times.

    Parameters
    ----------
    path : str or os.PathLike
        The folder.
    read : callable
        Gets an `OpenFolder`; called once if nobody saves at the same time.

    Raises
    ------
    OSError
        If there is no such folder, or it was replaced at every attempt.
    OSError, ValueError
        What `read` raised.
    """
    problem: Exception | None = None
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(min(attempt / 1000, _LONGEST_WAIT))
        try:
            folder = OpenFolder(path)
        except FileNotFoundError as error:
            if not is_being_replaced(Path(path)):
                raise
            problem = error
            continue
        with folder:
            try:
                found = read(folder)
            except (OSError, ValueError) as error:
                if folder.is_current():
                    raise
                problem = error
                continue
            if folder.is_current():
                return found
        problem = None
    if problem is not None:
        raise problem
    raise OSError(
        f"{Path(path)}: another save took its place each of the {_ATTEMPTS} times it was read; "
        "try again"
    )
