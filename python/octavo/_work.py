# SPDX-License-Identifier: Apache-2.0
"""How much work and how many bytes a weight is in each sparse format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from octavo import _backend, runtime

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STEP_BYTES = {"slots16": 98, "slots64": 130}
_PART = {1: 768, 4: 4096}
"""Inputs of a part of "csr" and of "blocks4x1", by the outputs of a set."""


def work_of(codes: NDArray[np.int8], name: str) -> tuple[int, int]:
    """Return a sparse format's units of work on codes (N, K), and its bytes.

    The bytes are those that the headers of ``csrc/layout`` draw, without the column sums, which the
    dense form has too.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> octavo.tuning.work_of(np.eye(64, dtype=np.int8), "bitmap")
    (64, 672)
    """
    panels = -(-len(codes) // 16)
    columns = 16 * panels
    if name == "bitmap":
        groups = groups_of(codes)
        blocks = panels * -(-codes.shape[1] // 256)
        return groups, 8 * groups + int(np.count_nonzero(codes)) + 4 * (blocks + panels) + 64
    if name == "blocks16x4":
        width = block_width()
        units = width // 4 * _blocks(codes, width)
        return max(1, units), 66 * _blocks(codes, 4) + 4 * (panels + 1 + columns)
    if name == "blocks1x4":
        quads = _blocks(codes, 4, height=1)
        return max(1, -(-quads // 16)), 6 * quads + 4 * (3 * columns + 1)
    if name == "blocks4x1":
        squares = _squares(codes, 4)
        parts = max(1, -(-codes.shape[1] // _PART[4]))
        firsts = parts * columns // 2 + 1
        return max(1, -(-squares // 4)), 24 * squares + 4 * (firsts + columns)
    if name == "csr":
        squares = _squares(codes, 1)
        parts = max(1, -(-codes.shape[1] // _PART[1]))
        return max(1, -(-squares // 16)), 12 * squares + 4 * (parts * columns + 1 + columns)
    steps = max(1, int(_backend.backend.slot_steps(codes, name)))
    return steps, steps * _STEP_BYTES[name] + 4 * (panels + 1 + columns)


def block_width() -> int:
    """Return how many inputs the tier in use multiplies at once with 16 outputs."""
    return 64 if runtime.get_isa() == "amx_int8" else 4


def _there(codes: NDArray[np.int8], height: int, width: int) -> NDArray[np.bool_]:
    """Tell which blocks of `height` outputs by `width` inputs are not all zero."""
    n, k = codes.shape
    shape = (-(-n // height), height, -(-k // width), width)
    padded = np.zeros((shape[0] * height, shape[2] * width), np.bool_)
    padded[:n, :k] = codes != 0
    found: NDArray[np.bool_] = np.any(padded.reshape(shape), axis=(1, 3))
    return found


def _blocks(codes: NDArray[np.int8], width: int, height: int = 16) -> int:
    """Count the blocks of `height` outputs by `width` inputs that are not all zero."""
    return int(np.count_nonzero(_there(codes, height, width)))


def _squares(codes: NDArray[np.int8], height: int) -> int:
    """Count the fours of inputs that sets of `height` outputs use, a part's last filled up."""
    used = _there(codes, height, 1)
    parts = range(0, used.shape[1], _PART[height])
    strips = [np.count_nonzero(used[:, k : k + _PART[height]], axis=1) for k in parts]
    return sum(int((-(-count // 4)).sum()) for count in strips)


def groups_of(codes: NDArray[np.int8]) -> int:
    """Return the groups of 16 outputs by 4 inputs that the dense layer has."""
    n, k = codes.shape
    return int(-(-n // 16) * -(-k // 4))
