# SPDX-License-Identifier: Apache-2.0
"""Blocks of a GGUF file as float32: the values that llama.cpp's Python package gives, bit for bit.

Each function gets blocks of its type's layout (`octavo.io.gguf.formats`) and room for their values,
a row for each block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from octavo._types import Array, Float32
from octavo.io.gguf.formats import LAYOUTS

# What a code of IQ4_NL stands for.
_UNEVEN = np.array(
    (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113), np.float32
)
# What one of MXFP4 does: a float of 4 bits, twice as large. Scales are powers of two, halved.
_FLOATS4 = np.array((0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12), np.float32)
_POWERS = np.ldexp(np.float32(1), np.arange(256) - 128)
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
    blocks = packed.view(LAYOUTS[name])
    with np.errstate(all="ignore"):  # scales of a file may be anything
        _DECODERS[name](blocks, out.reshape(len(blocks), -1))


def _float32(column: Array) -> Float32:
    return column.astype(np.float32)[:, None]


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


def _plain(blocks: Array, out: Float32) -> None:
    out[:, 0] = blocks["w"]


def _float16(blocks: Array, out: Float32) -> None:
    # NumPy converts them one by one.
    np.take(_HALVES, blocks["w"], out=out[:, 0], mode="clip")


def _bfloat16(blocks: Array, out: Float32) -> None:
    # A bfloat16 is the upper half of a float32.
    np.left_shift(blocks["w"], 16, out=out[:, 0].view(np.uint32), dtype=np.uint32)


def _four_bits(blocks: Array) -> Array:
    return _nibbles(blocks["q"]).reshape(-1, 32)


def _five_bits(blocks: Array) -> Array:
    upper = np.unpackbits(blocks["h"], axis=1, bitorder="little")
    return _four_bits(blocks) | (upper << 4)


def _symmetric(codes: Callable[[Array], Array], zero: int) -> Callable[[Array, Float32], None]:
    """Return the decoder of scale times code, where code `zero` stands for 0."""

    def decoder(blocks: Array, out: Float32) -> None:
        out[:] = codes(blocks)
        if zero:
            out -= zero
        out *= _float32(blocks["d"])

    return decoder


def _affine(codes: Callable[[Array], Array]) -> Callable[[Array, Float32], None]:
    """Return the decoder of scale times code, plus the block's least value."""

    def decoder(blocks: Array, out: Float32) -> None:
        out[:] = codes(blocks)
        out *= _float32(blocks["d"])
        out += _float32(blocks["m"])

    return decoder


def _iq4_nl(blocks: Array, out: Float32) -> None:
    np.take(_UNEVEN, _four_bits(blocks), out=out, mode="clip")  # without a mode it is copied
    out *= _float32(blocks["d"])


def _mxfp4(blocks: Array, out: Float32) -> None:
    np.take(_FLOATS4, _four_bits(blocks), out=out, mode="clip")
    out *= _POWERS[blocks["d"]][:, None]


def _trits(packed: Array, count: int) -> Array:
    """Return so many digits of base 3 of each of (blocks, n) bytes, first digits first.

    A byte is a fraction, whose digits come out on top as it is multiplied by 3.
    """
    shifted = packed[:, None] * (3 ** np.arange(count)).astype(np.uint8)[:, None]
    return ((shifted * np.uint16(3)) >> 8).reshape(len(packed), -1)


def _ternary(blocks: Array) -> Array:
    of_bytes, rest = blocks["q"], _trits(blocks["h"], 4)
    return np.concatenate([_trits(of_bytes[:, :32], 5), _trits(of_bytes[:, 32:], 5), rest], axis=1)


def _in_parts(codes: Array, scales: Float32, minima: Float32 | None, out: Float32) -> None:
    """Write scale times code, less the minimum, for the parts of each block."""
    parts = out.reshape(*scales.shape, -1)
    parts[:] = codes.reshape(parts.shape)
    parts *= scales[..., None]
    if minima is not None:
        parts -= minima[..., None]


def _iq4_xs(blocks: Array, out: Float32) -> None:
    low = _nibbles(blocks["s"]).swapaxes(1, 2).reshape(-1, 8)
    high = (blocks["h"][:, None] >> np.arange(0, 16, 2, dtype=np.uint16)) & 3
    scales = (low | (high << 4)).astype(np.float32) - 32
    _in_parts(_UNEVEN[_nibbles(blocks["q"])], _float32(blocks["d"]) * scales, None, out)


def _q2_k(blocks: Array, out: Float32) -> None:
    scales, minima = blocks["s"] & 15, blocks["s"] >> 4
    of_parts = _float32(blocks["d"]) * scales, _float32(blocks["m"]) * minima
    _in_parts(_pairs(blocks["q"]), *of_parts, out)


def _q3_k(blocks: Array, out: Float32) -> None:
    low = _nibbles(blocks["s"][:, :8]).reshape(-1, 16)
    high = _pairs(blocks["s"][:, 8:]).reshape(-1, 16)
    scales = (low | (high << 4)).astype(np.int8) - np.int8(32)
    # Where its bit is not set, a value is 4 less.
    upper = _bits(blocks["h"]).reshape(-1, 2, 4, 32)
    codes = (_pairs(blocks["q"]) | (upper << 2)).astype(np.int8) - np.int8(4)
    _in_parts(codes, _float32(blocks["d"]) * scales, None, out)


def _scales_and_minima(blocks: Array) -> tuple[Float32, Float32]:
    """Return the scales and minima of the eight parts of each block of Q4_K or Q5_K.

    Six bits each: those of the first four parts lie in bytes 0 to 7, whose upper two bits belong to
    the last four, as do the halves of bytes 8 to 11.
    """
    coded = blocks["s"].reshape(-1, 3, 4)
    six, upper = coded[:, :2] & 63, (coded[:, :2] >> 6) << 4
    last = _nibbles(coded[:, 2]) | upper
    both = np.concatenate([six, last], axis=2).astype(np.float32)
    return _float32(blocks["d"]) * both[:, 0], _float32(blocks["m"]) * both[:, 1]


def _q4_k(blocks: Array, out: Float32) -> None:
    _in_parts(_nibbles(blocks["q"]), *_scales_and_minima(blocks), out)


def _q5_k(blocks: Array, out: Float32) -> None:
    codes = _nibbles(blocks["q"]).reshape(-1, 8, 32) | (_bits(blocks["h"]) << 4)
    _in_parts(codes, *_scales_and_minima(blocks), out)


def _q6_k(blocks: Array, out: Float32) -> None:
    lower = _nibbles(blocks["q"]).reshape(-1, 2, 4, 32)
    codes = (lower | (_pairs(blocks["h"]) << 4)).astype(np.int8) - np.int8(32)
    _in_parts(codes, _float32(blocks["d"]) * blocks["s"], None, out)


_DECODERS: dict[str, Callable[[Array, Float32], Any]] = {
    "F32": _plain,
    "F16": _float16,
    "BF16": _bfloat16,
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
