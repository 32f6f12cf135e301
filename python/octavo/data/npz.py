# SPDX-License-Identifier: Apache-2.0
"""Arrays of ``.npz`` files, whose claims are checked before anything is unpacked or allocated."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo._files import read_bytes
from octavo._text import shown

_MOST_BYTES = 1 << 30
_LONGEST_HEADER = 512
"""NumPy takes seconds for the spaces of a longer one, as Python 2 may have written it."""

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a file by name.

    Raises
    ------
    ValueError
        If it holds anything but arrays of plain numbers or text, or more than 1 GiB of them; the
        message names the file.
    """
    content = read_bytes(path, _MOST_BYTES)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            total = sum(member.file_size for member in members)
            if total > _MOST_BYTES:
                raise ValueError(f"expected at most {_MOST_BYTES} bytes of arrays, got {total}")
            names = [member.filename.removesuffix(".npy") for member in members]
            if len(set(names)) < len(names):
                raise ValueError("a name occurs twice")
            arrays = (_array(archive.read(member)) for member in members)
            return dict(zip(names, arrays, strict=True))
    except MemoryError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise many kinds for what is damaged
        what = f"not an .npz file of plain arrays: {shown(str(error))}"
        raise ValueError(f"{path}: {what}") from None


def _array(content: bytes) -> npt.NDArray[Any]:
    """Return the array of a ``.npy`` file that is as large as its header says."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"expected version 1.0 or 2.0 of the format, got {version}")
    shape, _, dtype = _HEADERS[version](file, max_header_size=_LONGEST_HEADER)
    needed, found = math.prod(shape) * dtype.itemsize, len(content) - file.tell()
    if min(shape, default=0) < 0 or needed != found:
        raise ValueError(f"{dtype} of shape {shape} needs {needed} bytes, has {found}")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)
