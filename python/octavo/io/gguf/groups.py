# SPDX-License-Identifier: Apache-2.0
"""Blocks of a GGUF file as codes, with a scale and often a minimum for each group of neighbours.

A value is ``scale * code``, or ``scale * code + minimum``, in float32; only that sum is rounded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from octavo._types import Array, Float32
from octavo.io.gguf.formats import LAYOUTS

# What a code of IQ4_NL stands for.
_UNEVEN = np.array((-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113), "i1")
# What one of MXFP4 does: a float of 4 bits, twice as large. Scales are powers of two, halved.
_FLOATS4 = np.array((0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12), np.int8)
_POWERS = np.ldexp(np.float32(1), np.arange(256) - 128)


class Groups(NamedTuple):
    """Values as codes; groups are neighbours in a row, all of one size.

    Attributes
    ----------
    codes : int8 array, shape (rows, values)
        From 0 on where there is a minimum.
    scale : float16 or float32 array, shape (rows, groups)
        With `scale_steps`, what those are multiplied by: (rows, blocks).
    minimum : float16 array or None
        Shaped as the scales.
    scale_steps, minimum_steps : uint8 arrays, shape (rows, groups), or None
        Of a type whose blocks have several groups.
    """

    codes: Array
    scale: Array
    minimum: Array | None = None
    scale_steps: Array | None = None
    minimum_steps: Array | None = None

    @property
    def size(self) -> int:
        """Values of a group."""
        groups = self.scale if self.scale_steps is None else self.scale_steps
        return int(self.codes.shape[1] // groups.shape[1])

    def by_rows(self, count: int) -> Groups:
        """Return the same with so many rows."""
        fields = {
            name: array.reshape(count, -1)
            for name, array in self._asdict().items()
            if array is not None
        }
        return Groups(**fields)

    def scales(self) -> Float32:
        """Return the scales, (rows, groups)."""
        return _whole(self.scale, self.scale_steps)

    def minima(self) -> Float32 | None:
        """Return the minima, (rows, groups), if there are any."""
        return None if self.minimum is None else _whole(self.minimum, self.minimum_steps)


def _whole(unit: Array, steps: Array | None) -> Float32:
    values = unit.astype(np.float32)
    if steps is None:
        return values
    return values.repeat(steps.shape[1] // unit.shape[1], axis=1) * steps


def groups_of(name: str, packed: Array) -> Groups:
    """Return the codes of a type's blocks, and what makes values of them.

    Parameters
    ----------
    name : str
        One of `GROUPED`.
    packed : ndarray of uint8, shape (rows, bytes)
        Whole blocks in each row.
    """
    blocks = packed.reshape(-1).view(LAYOUTS[name])
    return GROUPED[name](blocks).by_rows(len(packed))


def _column(values: Array) -> Array:
    return np.ascontiguousarray(values)[:, None]


def _nibbles(packed: Array) -> Array:
    """Return (..., 2, n) low and high halves of (..., n) bytes."""
    halves = np.empty((*packed.shape[:-1], 2, packed.shape[-1]), np.uint8)
    np.bitwise_and(packed, 15, out=halves[..., 0, :])
    np.right_shift(packed, 4, out=halves[..., 1, :])
    return halves


def _pairs(packed: Array) -> Array:
    """Return (..., 4, n) groups of two bits of (..., n) bytes, the lowest first."""
    shifts = np.array([0, 2, 4, 6], np.uint8)[:, None]
    return (packed[..., None, :] >> shifts) & 3


def _bits(packed: Array) -> Array:
    """Return (..., 8, n) bits of (..., n) bytes, the lowest first."""
    shifts = np.arange(8, dtype=np.uint8)[:, None]
    return (packed[..., None, :] >> shifts) & 1


def _signed(codes: Array, zero: int) -> Array:
    """Return codes less the one that stands for 0."""
    return codes.view(np.int8) - np.int8(zero)


def _four_bits(blocks: Array) -> Array:
    return _nibbles(blocks["q"]).reshape(-1, 32)


def _five_bits(blocks: Array) -> Array:
    upper = np.unpackbits(blocks["h"], axis=1, bitorder="little")
    return _four_bits(blocks) | (upper << 4)


def _symmetric(codes: Callable[[Array], Array], zero: int) -> Callable[[Array], Groups]:
    """Return the reader of a type in which code `zero` stands for 0."""
    return lambda blocks: Groups(_signed(codes(blocks), zero), _column(blocks["d"]))


def _affine(codes: Callable[[Array], Array]) -> Callable[[Array], Groups]:
    """Return the reader of a type that has the least value of a block."""
    return lambda blocks: Groups(
        codes(blocks).view(np.int8), _column(blocks["d"]), _column(blocks["m"])
    )


def _iq4_nl(blocks: Array) -> Groups:
    return Groups(_UNEVEN[_four_bits(blocks)], _column(blocks["d"]))


def _iq4_xs(blocks: Array) -> Groups:
    low = _nibbles(blocks["s"]).swapaxes(1, 2).reshape(-1, 8)
    high = (blocks["h"][:, None] >> np.arange(0, 16, 2, dtype=np.uint16)) & 3
    steps = (low | (high << 4)).astype(np.float32) - 32
    return Groups(_UNEVEN[_nibbles(blocks["q"])], _column(blocks["d"]).astype(np.float32) * steps)


def _mxfp4(blocks: Array) -> Groups:
    return Groups(_FLOATS4[_four_bits(blocks)], _POWERS[blocks["d"]][:, None])


def _trits(packed: Array, count: int) -> Array:
    """Return so many digits of base 3 of each of (blocks, n) bytes, first digits first.

    A byte is a fraction, whose digits come out on top as it is multiplied by 3.
    """
    shifted = packed[:, None] * (3 ** np.arange(count)).astype(np.uint8)[:, None]
    return ((shifted * np.uint16(3)) >> 8).astype(np.uint8).reshape(len(packed), -1)


def _ternary(blocks: Array) -> Array:
    of_bytes, rest = blocks["q"], _trits(blocks["h"], 4)
    return np.concatenate([_trits(of_bytes[:, :32], 5), _trits(of_bytes[:, 32:], 5), rest], axis=1)


def _stepped(blocks: Array, codes: Array, scales: Array, minima: Array) -> Groups:
    """Return groups of a type with the minimum ``-m * step``."""
    return Groups(codes.view(np.int8), _column(blocks["d"]), -_column(blocks["m"]), scales, minima)


def _q2_k(blocks: Array) -> Groups:
    return _stepped(blocks, _pairs(blocks["q"]), blocks["s"] & 15, blocks["s"] >> 4)


def _q3_k(blocks: Array) -> Groups:
    low = _nibbles(blocks["s"][:, :8]).reshape(-1, 16)
    steps = _signed(low | (_pairs(blocks["s"][:, 8:]).reshape(-1, 16) << 4), 32)
    # Where its bit is not set, a value is 4 less.
    upper = _bits(blocks["h"]).reshape(-1, 2, 4, 32)
    codes = _signed(_pairs(blocks["q"]) | (upper << 2), 4)
    return Groups(codes, _column(blocks["d"]).astype(np.float32) * steps)


def _scales_and_minima(blocks: Array) -> tuple[Array, Array]:
    """Return the steps of the eight groups of each block of Q4_K or Q5_K.

    Six bits each: those of the first four groups lie in bytes 0 to 7, whose upper two bits belong
    to the last four, as do the halves of bytes 8 to 11.
    """
    coded = blocks["s"].reshape(-1, 3, 4)
    six, upper = coded[:, :2] & 63, (coded[:, :2] >> 6) << 4
    both = np.concatenate([six, _nibbles(coded[:, 2]) | upper], axis=2)
    return both[:, 0], both[:, 1]


def _q4_k(blocks: Array) -> Groups:
    return _stepped(blocks, _nibbles(blocks["q"]), *_scales_and_minima(blocks))


def _q5_k(blocks: Array) -> Groups:
    codes = _nibbles(blocks["q"]).reshape(-1, 8, 32) | (_bits(blocks["h"]) << 4)
    return _stepped(blocks, codes, *_scales_and_minima(blocks))


def _q6_k(blocks: Array) -> Groups:
    lower = _nibbles(blocks["q"]).reshape(-1, 2, 4, 32)
    codes = _signed(lower | (_pairs(blocks["h"]) << 4), 32)
    return Groups(codes, _column(blocks["d"]).astype(np.float32) * blocks["s"])


GROUPED: dict[str, Callable[[Array], Groups]] = {
    "Q4_0": _symmetric(_four_bits, 8),
    "Q4_1": _affine(_four_bits),
    "Q5_0": _symmetric(_five_bits, 16),
    "Q5_1": _affine(_five_bits),
    "Q8_0": _symmetric(lambda blocks: blocks["q"], 0),
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
    "IQ4_NL": _iq4_nl,
    "IQ4_XS": _iq4_xs,
    "TQ1_0": _symmetric(_ternary, 1),
    "TQ2_0": _symmetric(lambda blocks: _pairs(blocks["q"]).reshape(-1, 256), 1),
    "MXFP4": _mxfp4,
}
"""What reads the blocks of each type that has codes."""
