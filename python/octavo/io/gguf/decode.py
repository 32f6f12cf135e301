# SPDX-License-Identifier: Apache-2.0
"""Blocks of a GGUF file as float32: the values of llama.cpp's Python package, bit for bit."""

from __future__ import annotations

import numpy as np

from octavo._types import Array, Float32
from octavo.io.gguf.formats import LAYOUTS
from octavo.io.gguf.groups import GROUPED, groups_of

# float16 by its bits
_HALVES = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


def decode(name: str, packed: Array, out: Float32) -> None:
    """Write the values of a type's blocks.

    Parameters
    ----------
    name : str
        A key of `octavo.io.gguf.formats.LAYOUTS`.
    packed : ndarray of uint8
        The bytes of whole blocks.
    out : ndarray of float32
        Contiguous, with as many values.
    """
    layout = LAYOUTS[name]
    with np.errstate(all="ignore"):  # scales of a file may be anything
        if name in GROUPED:
            _grouped(name, packed.reshape(-1, layout.itemsize), out)
        else:
            _plain(name, packed.view(layout)["w"], out)


def _grouped(name: str, packed: Array, out: Float32) -> None:
    groups = groups_of(name, packed)
    scales, minima = groups.scales(), groups.minima()
    values = out.reshape(*scales.shape, groups.size)
    values[:] = groups.codes.reshape(values.shape)
    values *= scales[..., None]
    if minima is not None:
        values += minima[..., None]


def _plain(name: str, stored: Array, out: Float32) -> None:
    if name == "F16":  # NumPy converts them one by one
        np.take(_HALVES, stored, out=out, mode="clip")
    elif name == "BF16":  # the upper half of a float32
        np.left_shift(stored, 16, out=out.view(np.uint32), dtype=np.uint32)
    else:
        out[:] = stored
