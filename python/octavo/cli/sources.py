# SPDX-License-Identifier: Apache-2.0
"""What MODEL may be: a folder, a safetensors file with its config, a GGUF file, a hub's name."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from octavo._files import read_bytes
from octavo.io.folder import write_files
from octavo.io.hub import is_hub_id, snapshot
from octavo.io.side_files import read_side_files
from octavo.io.snapshot import OpenFolder, read_consistently

_SHARD = re.compile(r".*-\d{5}-of-\d{5}\.safetensors")
_OTHER_WEIGHTS = (".pt", ".pth", ".ckpt", ".onnx", ".h5", ".msgpack")
_GGUF = ".gguf"


@contextmanager
def model_folder(
    model: str, config: Path | None = None, revision: str | None = None
) -> Iterator[Path]:
    """Give a folder with ``config.json`` and ``model.safetensors`` for what the user named.

    That is a folder, a ``.safetensors`` file, or a hub id, ``owner/name``, of some revision.
    `config` is used instead of the one that lies with the weights. A ``.gguf`` file has all in it,
    and is given as it is.
    """
    if config is not None and not config.is_file():
        raise FileNotFoundError(f"--config: no such file: {config}")
    path = Path(model)
    from_hub = is_hub_id(model)
    if revision is not None and not from_hub:
        raise ValueError(f"--revision is for a model of the hub, not for {model!r}")
    if path.is_file() and path.suffix == _GGUF:
        if config is not None:
            raise ValueError(f"--config: expected none with a GGUF file, got {config}")
        yield path
    elif path.is_file():
        with _staged(_weights(path), config) as folder:
            yield folder
    elif from_hub or path.is_dir():
        folder = snapshot(model, revision) if from_hub else path
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
        raise ValueError(f"{path}: expected a folder, a .safetensors or .gguf file, or owner/name")
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
            own = folder.read("config.json") if config is None else read_bytes(config)
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
