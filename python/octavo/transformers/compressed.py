# SPDX-License-Identifier: Apache-2.0
"""Folders whose weights are compressed (``store: zstd``), for transformers, which cannot read them.

transformers opens files by path: the weights are decompressed into a folder of their own, which
goes once the model is there, at the latest with the process.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import modeling_utils

from octavo.io.snapshot import OpenFolder, read_consistently
from octavo.io.zstd_file import read_frames

COMPRESSED = "model.safetensors.zst"
_PLAIN = "model.safetensors"
_UNPACKED: dict[Path, tuple[Path, tempfile.TemporaryDirectory[str]]] = {}


def origin_of(folder: Path) -> Path:
    """Return the folder of a model whose weights lie in `folder`: the same, or a compressed one."""
    return _UNPACKED[folder][0] if folder in _UNPACKED else folder


def weights_of(folder: Path) -> Path:
    """Return where the weights of a folder lie: there, or decompressed."""
    made = [weights for weights, (origin, _) in _UNPACKED.items() if origin == folder]
    return made[-1] if made else folder


def discard(weights: Path) -> None:
    """Remove a folder that was made here; others are left alone."""
    if weights in _UNPACKED:
        _UNPACKED.pop(weights)[1].cleanup()


def _unpack(folder: Path) -> Path:
    made = tempfile.TemporaryDirectory(prefix="octavo-", ignore_cleanup_errors=True)
    path = Path(made.name) / _PLAIN
    path.write_bytes(read_consistently(folder, _content))
    _UNPACKED[path.parent] = folder, made
    return path


def _content(folder: OpenFolder) -> bytearray:
    with folder.open(COMPRESSED) as file:
        return read_frames(folder.path / COMPRESSED, file.read(), lambda *_: "")


def _resolving(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let transformers find the weights of such a folder; all others go to its own function."""

    @functools.wraps(original)
    def resolve(*args: Any, **options: Any) -> Any:
        name = options.get("pretrained_model_name_or_path", args[0] if args else None)
        below = (options.get("download_kwargs") or options).get("subfolder")
        folder = Path(str(name), below or "")
        if (folder / COMPRESSED).is_file() and not (folder / _PLAIN).exists():
            return [str(_unpack(folder))], None
        return original(*args, **options)

    return resolve


modeling_utils._get_resolved_checkpoint_files = _resolving(
    modeling_utils._get_resolved_checkpoint_files
)
