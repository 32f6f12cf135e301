# SPDX-License-Identifier: Apache-2.0
"""What MODEL may be: a folder, a safetensors file with its config, or a name on the hub."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from octavo.io.folder import MODEL_FILES, TEMPLATE_FOLDER, write_files
from octavo.io.side_files import read_side_files
from octavo.io.snapshot import read_consistently

if TYPE_CHECKING:
    from octavo.io.snapshot import OpenFolder

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_SHARD = re.compile(r".*-\d{5}-of-\d{5}\.safetensors")
_OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt", ".onnx", ".h5", ".msgpack", ".gguf")
_HUB_FILES = (
    "config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    *MODEL_FILES,
    "[0-9]*_*/config.json",
    "[1-9]*_*/model.safetensors",
    f"{TEMPLATE_FOLDER}/*.jinja",
)


@contextmanager
def model_folder(
    model: str, config: Path | None = None, revision: str | None = None
) -> Iterator[Path]:
    """Give a folder with ``config.json`` and ``model.safetensors`` for what the user named.

    Parameters
    ----------
    model : str
        A folder, a ``.safetensors`` file, or a hub id, ``owner/name``.
    config : Path, optional
        The config.json to use instead of the one that lies with the weights.
    revision : str, optional
        Branch, tag or commit, for a hub id.
    """
    if config is not None and not config.is_file():
        raise FileNotFoundError(f"--config: no such file: {config}")
    path = Path(model)
    from_hub = not path.exists() and bool(_HUB_ID.fullmatch(model))
    if revision is not None and not from_hub:
        raise ValueError(f"--revision is for a model of the hub, not for {model!r}")
    if path.is_file():
        with _staged(_weights(path), config) as folder:
            yield folder
    elif from_hub or path.is_dir():
        folder = _download(model, revision) if from_hub else path
        if config is None:
            yield folder
        else:
            with _staged(_single(folder), config) as staged:
                yield staged
    else:
        raise FileNotFoundError(
            f"no such folder: {model} (a model of the hub is written owner/name)"
        )


def _weights(path: Path) -> Path:
    if path.suffix in _OTHER_WEIGHTS:
        raise ValueError(f"{path}: {path.suffix} files are not read; convert it to safetensors")
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: expected a folder, a .safetensors file or owner/name")
    if _SHARD.fullmatch(path.name):
        raise ValueError(f"{path} is one part of a model; name its folder: {path.parent}")
    return path


def _single(folder: Path) -> Path:
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise FileNotFoundError(f"{folder}: no model.safetensors, which --config goes with")
    return weights


@contextmanager
def _staged(weights: Path, config: Path | None) -> Iterator[Path]:
    """Put weights, the side files beside them and a config together in a folder with a link."""
    with tempfile.TemporaryDirectory(prefix="octavo-") as place, ExitStack() as held:

        def gather(folder: OpenFolder) -> tuple[dict[str, bytes], BinaryIO]:
            if config is None and not folder.is_file("config.json"):
                raise FileNotFoundError(
                    f"{weights}: no config.json beside it; name the model's with --config FILE"
                )
            own = folder.read("config.json") if config is None else config.read_bytes()
            files = {**read_side_files(folder), "config.json": own}
            return files, held.enter_context(folder.open(weights.name))

        files, file = read_consistently(weights.parent, gather)
        write_files(files, Path(place))
        _link(file, weights, Path(place) / "model.safetensors")
        yield Path(place)


def _link(file: BinaryIO, source: Path, target: Path) -> None:
    """Link, or copy where the system has no links for us (Windows without the right).

    Where it can be named, the open file itself: another one may take its place.
    """
    itself = Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")
    try:
        target.symlink_to(itself if itself.exists() else source.resolve())
    except OSError:
        with target.open("wb") as copy:
            shutil.copyfileobj(file, copy)


def _download(name: str, revision: str | None) -> Path:
    """Return the hub's snapshot of `name`, from its cache or downloaded into it."""
    try:
        hub: Any = import_module("huggingface_hub")
        utils: Any = import_module("huggingface_hub.utils")
        errors: Any = import_module("huggingface_hub.errors")
    except ImportError:
        raise FileNotFoundError(
            f"no such folder: {name}; to take that model from the hub: pip install "
            "huggingface_hub, or download it elsewhere and name its folder"
        ) from None
    if not sys.stderr.isatty():
        utils.disable_progress_bars()
    try:
        return Path(hub.snapshot_download(name, revision=revision, allow_patterns=list(_HUB_FILES)))
    except Exception as error:  # the library's own kinds and those of its transport
        raise OSError(_hub_failure(name, revision, error, errors)) from None


def _hub_failure(name: str, revision: str | None, error: Exception, kinds: Any) -> str:
    """Say what a failed download means for the user."""
    if isinstance(error, kinds.GatedRepoError):
        return f"{name}: the hub asks to accept this model's terms there, then `hf auth login`"
    if isinstance(error, kinds.RepositoryNotFoundError):
        return f"{name}: no such folder, and no such model on the hub (or a private one)"
    if isinstance(error, kinds.RevisionNotFoundError):
        return f"{name}: the hub has no revision {revision!r} of it"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return (
        f"{name}: no such folder, and the hub cannot be reached ({lines[0]}). "
        "Connect and try again, or download the model elsewhere and name its folder"
    )
