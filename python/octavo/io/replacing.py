# SPDX-License-Identifier: Apache-2.0
"""Writing a whole folder or nothing: beside its place first, then one exchange of names.

How to read one that others may replace meanwhile: `octavo.io.snapshot`.

What is written stands in ``.NAME.HOSTxxxxxxxx.tmp``, locked as long as its process lives.  A save
that was killed leaves it there; the next save to the same place, on the same host, removes it if
it can take the lock.  Where there are no locks (Windows, some network file systems), it stays.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from octavo.io.folder import check_replaceable

if sys.platform == "win32":
    fcntl = None
else:
    import fcntl


@contextlib.contextmanager
def replaced_folder(
    target: str | os.PathLike[str],
    check: Callable[[str | os.PathLike[str]], Path] = check_replaceable,
) -> Iterator[Path]:
    """Give a fresh folder to fill; on success it takes the place of `target` in one step.

    If the body raises (an error, a full disk, Ctrl-C), the fresh folder is removed and `target`
    is what it was before.  Folder and files keep the modes of those that they replace.

    Parameters
    ----------
    target : str or os.PathLike
        The folder to make or replace.
    check : callable
        Returns the absolute path of a folder that may be replaced, or raises; by default one that
        holds anything but a saved model is refused.
    """
    final = check(target)
    final.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(final)
    aside, lock = _fresh_folder(final)
    try:
        yield aside
        check(final)  # again: filling it may have taken long
        if final.exists():
            _take_modes(aside, final)
            _sync_folder(aside)
            _exchange(aside, final)
        else:
            _sync_folder(aside)
            aside.rename(final)
        _sync_folder(final.parent)
    finally:
        # After an exchange this is the old folder, before it the unfinished one.
        shutil.rmtree(aside, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _fresh_folder(final: Path) -> tuple[Path, int | None]:
    """Make a folder beside `final`; return it with the handle that locks it, if there are locks."""
    # Until it is done, nobody may read what is to replace something private.
    mode = 0o700 if final.exists() else 0o777
    while True:
        aside = final.with_name(f".{final.name}.{_host()}{secrets.token_hex(4)}.tmp")
        aside.mkdir(mode)
        try:
            return aside, _locked(aside)
        except (BlockingIOError, FileNotFoundError):
            continue  # another save took it for an abandoned one, before it was locked
        except OSError:
            return aside, None


def _locked(folder: Path) -> int:
    """Return a handle that holds the lock of a folder; OSError if it cannot be had."""
    if fcntl is None:
        raise OSError(errno.ENOTSUP, "no locks here")
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(handle), folder.lstat()):
            raise FileNotFoundError(errno.ENOENT, "another folder took its place", str(folder))
    except BaseException:
        os.close(handle)
        raise
    return handle


def _remove_abandoned(final: Path) -> None:
    """Remove what saves to `final` left on this host when they were killed."""
    name = re.compile(rf"\.{re.escape(final.name)}\.{_host()}[0-9a-f]{{8}}\.(tmp|old)")
    try:
        beside = list(final.parent.iterdir())
    except OSError:
        return
    for path in beside:
        found = name.fullmatch(path.name)
        if found is None:
            continue
        if found[1] == "tmp":
            _remove_unlocked(path)
        elif final.exists():
            # Set aside by two renames: as soon as there is a new folder, nobody needs it.
            shutil.rmtree(path, ignore_errors=True)


def _remove_unlocked(folder: Path) -> None:
    try:
        handle = _locked(folder)
    except OSError:
        return
    try:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)


def _host() -> str:
    """Tell this host from others that see the same files, in 8 hexadecimal digits."""
    return hashlib.blake2s(platform.node().encode(), digest_size=4).hexdigest()


def _take_modes(fresh: Path, old: Path) -> None:
    """Give each file and folder the mode of what it replaces.

    A file that replaces none may be read and written by whom all old ones may be.
    """
    modes, common = {}, 0o777
    for path in old.rglob("*"):
        modes[path.relative_to(old)] = stat.S_IMODE(path.stat().st_mode)
        if path.is_file():
            common &= modes[path.relative_to(old)]
    whole = stat.S_IMODE(old.stat().st_mode)
    for path in fresh.rglob("*"):
        mode = modes.get(path.relative_to(fresh))
        if mode is None:
            mode = whole if path.is_dir() else stat.S_IMODE(path.stat().st_mode) & common
        path.chmod(mode)
    fresh.chmod(whole)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _exchange(fresh: Path, old: Path) -> None:
    """Swap two folders: in one system call where there is one, else in two renames."""
    if _swap_names(fresh, old):
        return
    backup = fresh.with_suffix(".old")
    old.rename(backup)
    try:
        fresh.rename(old)
    except BaseException:
        backup.rename(old)
        raise
    shutil.rmtree(backup, ignore_errors=True)


def is_being_replaced(path: Path) -> bool:
    """Whether a folder that was not there is back, or stands between the two renames of a save."""
    place = Path(os.path.realpath(path))
    if place.exists():
        return True
    aside = re.compile(rf"\.{re.escape(place.name)}\.[0-9a-f]{{16}}\.old")
    try:
        return any(aside.fullmatch(entry.name) for entry in place.parent.iterdir())
    except OSError:
        return False


def _swap_names(first: Path, second: Path) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    at_cwd, exchange = -100, 2
    if renameat2(at_cwd, os.fsencode(first), at_cwd, os.fsencode(second), exchange) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(second))
