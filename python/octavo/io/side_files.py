# SPDX-License-Identifier: Apache-2.0
"""The small files that belong to a model beside its weights, and the size of those."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from octavo.io.folder import MODEL_FILES, MODULE_FOLDER
from octavo.io.snapshot import read_consistently

if TYPE_CHECKING:
    from octavo.io.snapshot import OpenFolder

_WEIGHTS = re.compile(r"model.*\.safetensors|model\.safetensors\.zst")


def side_files(folder: str | os.PathLike[str]) -> dict[str, bytes]:
    """Read the small files that travel with a model, all of one save."""
    return read_consistently(folder, read_side_files)


def read_side_files(folder: OpenFolder) -> dict[str, bytes]:
    """Return the content of each file that travels with a model, by its name in the folder."""
    present = folder.names()
    names = [name for name in MODEL_FILES if name in present]
    names += [f"{name}/config.json" for name in present if MODULE_FOLDER.fullmatch(name)]
    return {name: folder.read(name) for name in names if folder.is_file(name)}


def weight_bytes(folder: str | os.PathLike[str]) -> int:
    """Size of a model's weight files on disk."""

    def total(opened: OpenFolder) -> int:
        return sum(opened.size(name) for name in opened.names() if _WEIGHTS.fullmatch(name))

    return read_consistently(folder, total)
