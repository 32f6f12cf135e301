# SPDX-License-Identifier: Apache-2.0
"""Opening files that others name, without waiting for pipes; replacing files in one step."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

# A pipe without a writer would be waited for, a terminal would take charge of this process.
_FLAGS = os.O_RDONLY
for _name in ("O_BINARY", "O_CLOEXEC", "O_NOCTTY", "O_NONBLOCK"):
    _FLAGS |= getattr(os, _name, 0)


def handle_of(
    path: Path, place: str | None = None, folder: int | None = None
) -> tuple[int, os.stat_result]:
    """Open a file for reading; return its handle, and what the system says of it.

    Parameters
    ----------
    path : pathlib.Path
        The file, for messages too.
    place : str, optional
        Where it is, if not at `path`: relative to `folder`.
    folder : int, optional
        A handle of a folder.

    Raises
    ------
    OSError
        If it is missing, cannot be read, or is no file; the message names `path`.
    """
    try:
        handle = os.open(path if place is None else place, _FLAGS, dir_fd=folder)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    # What was opened is looked at: at the same name there could be something else by now.
    info = os.fstat(handle)
    try:
        require_file(path, info)
    except OSError:
        os.close(handle)
        raise
    return handle, info


def require_file(path: Path, info: os.stat_result) -> None:
    """Raise OSError for what is no file."""
    if stat.S_ISDIR(info.st_mode):
        raise IsADirectoryError(f"{path} is a folder; expected a file")
    if not stat.S_ISREG(info.st_mode):
        raise OSError(f"{path} is a pipe or a device; expected a file")


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading; see `handle_of`."""
    return os.fdopen(handle_of(Path(path))[0], "rb")


def read_bytes(path: str | os.PathLike[str], most: int | None = None) -> bytes:
    """Return what a file holds; see `handle_of`. More than `most` bytes are a ValueError."""
    with open_file(path) as file:
        # Asked for so many bytes, `read` would take memory for as many at once.
        if most is not None and os.fstat(file.fileno()).st_size > most:
            raise ValueError(f"{path}: expected at most {most} bytes, got more")
        return file.read()


@contextlib.contextmanager
def replaced_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file beside `path` to write; on success it takes its place, and its mode, in one step.

    If anything goes wrong, Ctrl-C included, `path` is what it was and nothing lies beside it.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    mode = None
    if path.exists():
        info = path.stat()
        require_file(path, info)
        mode = stat.S_IMODE(info.st_mode)
    try:
        # Until it is done, nobody may read what is to replace something private.
        aside.touch(0o666 if mode is None else 0o600, exist_ok=False)
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            aside.chmod(mode)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
