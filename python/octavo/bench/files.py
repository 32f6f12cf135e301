# SPDX-License-Identifier: Apache-2.0
"""Result files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from octavo._files import replaced_file, require_file


def check_target(path: str | os.PathLike[str]) -> None:
    """Raise if `path` could not be written, before the work whose result it is to hold."""
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"no such folder: {target.parent}")
    _require_replaceable(target)
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        aside.touch()
    except OSError as error:
        raise type(error)(f"cannot write {target} ({error.strerror}); name another place") from None
    finally:
        aside.unlink(missing_ok=True)


def _require_replaceable(target: Path) -> None:
    if target.is_dir():
        raise IsADirectoryError(f"{target} is a folder; name a file")
    if not target.exists():
        return
    require_file(target, target.stat())
    if not target.stat().st_mode & 0o222:
        raise PermissionError(f"{target} is read-only; name another file")


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` beside `path`, then put it in its place in one step.

    If anything goes wrong, Ctrl-C included, `path` is what it was before and nothing lies beside
    it.
    """
    target = Path(path)
    _require_replaceable(target)
    try:
        with replaced_file(target) as file:
            file.write(content)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {target} ({error.strerror})") from None


def write_text(path: str | os.PathLike[str], content: str) -> None:
    """Write `content` in UTF-8; see :func:`write_bytes`."""
    write_bytes(path, content.encode("utf-8"))
