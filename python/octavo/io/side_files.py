# SPDX-License-Identifier: Apache-2.0
"""The small files that belong to a model beside its weights, and the size of those."""

from __future__ import annotations

import os
import re
from pathlib import Path

from octavo._warn import warn
from octavo.io.folder import MODEL_FILES, MODULE_FOLDER, TEMPLATE_FOLDER, is_side_file
from octavo.io.snapshot import OpenFolder, read_consistently

_WEIGHTS = re.compile(r"model.*\.safetensors|model\.safetensors\.zst|pytorch_model.*\.bin")


def side_files(folder: str | os.PathLike[str]) -> dict[str, bytes]:
    """Read the small files that travel with a model, all of one save."""
    return read_consistently(folder, read_side_files)


def read_side_files(folder: OpenFolder) -> dict[str, bytes]:
    """Return the content of each file that travels with a model, by its name in the folder.

    Those are the files of a tokenizer with its templates, and what sentence-transformers reads
    beside the encoder: the modules behind it with their weights, which are small.
    """
    present = folder.names()
    names = [name for name in MODEL_FILES if name in present]
    for place in present:
        if place == TEMPLATE_FOLDER or MODULE_FOLDER.fullmatch(place):
            names += filter(is_side_file, (f"{place}/{name}" for name in folder.names(place)))
    _tell_of_links(folder, names)
    return {name: folder.read(name) for name in names}


def _tell_of_links(folder: OpenFolder, names: list[str]) -> None:
    """Warn of files that lie elsewhere: what they hold becomes part of what is saved.

    The hub's cache is one place: its snapshots are links to the blobs beside them.
    """
    here = Path(os.path.realpath(folder.path))
    cache = here.parents[1] / "blobs" if here.parent.name == "snapshots" else here
    for name in names:
        place = Path(os.path.realpath(here / name))
        if not (place.is_relative_to(here) or place.is_relative_to(cache)):
            warn(
                f"{folder.path}: {name} is a link out of the folder, to {place}; what that holds"
                " is read, and saved with the model"
            )


def weight_bytes(folder: str | os.PathLike[str]) -> int:
    """Size of a model's weight files on disk."""

    def total(opened: OpenFolder) -> int:
        return sum(opened.size(name) for name in opened.names() if _WEIGHTS.fullmatch(name))

    return read_consistently(folder, total)
