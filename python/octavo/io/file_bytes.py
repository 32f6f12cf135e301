# SPDX-License-Identifier: Apache-2.0
"""The bytes of a file, read at the places where they are asked for.

Nothing is mapped: a mapping changes with its file, and kills the process if that is cut.
"""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from pathlib import Path
from typing import BinaryIO

from octavo.io.snapshot import stamp_of

_CHUNK = 1 << 20


class FileBytes:
    """An open file; what becomes of it later is noticed by who reads it.

    Parameters
    ----------
    path : pathlib.Path
        Its name, for messages.
    file : binary file
        The file, open; it is closed here.

    Attributes
    ----------
    size : int
        Bytes of the file when it was opened.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self._file = file
        self.close = weakref.finalize(self, file.close)
        info = os.fstat(file.fileno())
        self._stamp, self.size = stamp_of(info), info.st_size

    def fill(self, target: memoryview, begin: int) -> None:
        """Read the bytes from `begin` on; a file that is not what it was is an OSError."""
        if not self.close.alive:
            raise ValueError(f"{self.path}: was closed")
        done = 0
        while done < len(target):
            count = _read_at(self._file, target[done:], begin + done)
            if count == 0:
                break
            done += count
        if done < len(target) or stamp_of(os.fstat(self._file.fileno())) != self._stamp:
            raise OSError(f"{self.path}: was changed while it was read; load it again")

    def digest(self) -> str:
        """Return the digest of all bytes, SHA-256."""
        digest, room = hashlib.sha256(), memoryview(bytearray(_CHUNK))
        for begin in range(0, self.size, _CHUNK):
            part = room[: self.size - begin]
            self.fill(part, begin)
            digest.update(part)
        return digest.hexdigest()


if hasattr(os, "preadv"):

    def _read_at(file: BinaryIO, target: memoryview, begin: int) -> int:
        return os.preadv(file.fileno(), [target], begin)

else:
    _SEEKING = threading.Lock()

    def _read_at(file: BinaryIO, target: memoryview, begin: int) -> int:
        with _SEEKING:
            file.seek(begin)
            return file.readinto(target)  # type: ignore[attr-defined]
