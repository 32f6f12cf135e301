# SPDX-License-Identifier: Apache-2.0
"""Codes of a few bits in 32-bit words."""

from __future__ import annotations

import numpy as np

from octavo._types import Array

_WORD = 32


def words_for(count: int, bits: int) -> int:
    """Return how many words hold some codes side by side, without a gap."""
    return -(-count * bits // _WORD)


def padded_words_for(count: int, bits: int) -> int:
    """Return how many words hold some codes of which none is in two words."""
    return -(-count // (_WORD // bits))


def pack(codes: Array, bits: int) -> Array:
    """Return codes (rows, count), uint8, as words of which `unpack` makes the same."""
    rows, count = codes.shape
    if 8 % bits == 0:
        in_byte = 8 // bits
        places = np.zeros((rows, words_for(count, bits) * 4 * in_byte), np.uint8)
        places[:, :count] = codes
        octets = places[:, ::in_byte].copy()
        for i in range(1, in_byte):
            octets |= places[:, i::in_byte] << np.uint8(i * bits)
        return octets.view("<i4").astype(np.int32, copy=False)
    blocks = -(-count // _WORD)
    padded = np.zeros((rows, blocks * _WORD), np.uint32)
    padded[:, :count] = codes
    grid = padded.reshape(rows, blocks, _WORD)
    words = np.zeros((rows, blocks, bits), np.uint32)
    for i in range(_WORD):
        word, shift = divmod(i * bits, _WORD)
        words[:, :, word] |= grid[:, :, i] << np.uint32(shift)
        if shift + bits > _WORD:
            words[:, :, word + 1] |= grid[:, :, i] >> np.uint32(_WORD - shift)
    flat = words.reshape(rows, blocks * bits)[:, : words_for(count, bits)]
    return np.ascontiguousarray(flat).view(np.int32)


def unpack(words: Array, bits: int, count: int) -> Array:
    """Return codes that lie side by side: the i-th of a row from bit ``i * bits`` on.

    Bit 0 is the lowest of a row's first word; a code may begin in one word and end in the next.

    Parameters
    ----------
    words : int32 array, shape (rows, words_for(count, bits))
    bits : from 1 to 8
    count : int
        Codes of a row.

    Returns
    -------
    uint8 array, shape (rows, count)

    Examples
    --------
    >>> import numpy as np
    >>> from octavo._packed_words import unpack
    >>> unpack(np.array([[0x87654321]], np.uint32).view(np.int32), 4, 8)
    array([[1, 2, 3, 4, 5, 6, 7, 8]], dtype=uint8)
    """
    rows, blocks = len(words), -(-count // _WORD)
    if 8 % bits == 0:
        in_byte = 8 // bits
        octets = np.ascontiguousarray(words, "<i4").view(np.uint8)
        places = np.empty((rows, octets.shape[1] * in_byte), np.uint8)
        for i in range(in_byte):
            places[:, i::in_byte] = octets >> np.uint8(i * bits) & np.uint8((1 << bits) - 1)
        return np.ascontiguousarray(places[:, :count])
    # 32 codes are a block of as many words as a code has bits, the same in every block.
    padded = np.zeros((rows, blocks * bits), np.uint32)
    padded[:, : words.shape[1]] = np.ascontiguousarray(words).view(np.uint32)
    grid = padded.reshape(rows, blocks, bits)
    codes = np.empty((rows, blocks, _WORD), np.uint8)
    for i in range(_WORD):
        word, shift = divmod(i * bits, _WORD)
        part = grid[:, :, word] >> np.uint32(shift)
        if shift + bits > _WORD:
            part |= grid[:, :, word + 1] << np.uint32(_WORD - shift)
        codes[:, :, i] = part & np.uint32((1 << bits) - 1)
    return np.ascontiguousarray(codes.reshape(rows, blocks * _WORD)[:, :count])


def unpack_padded(words: Array, bits: int, count: int) -> Array:
    """Return codes of which each word holds as many as fit in whole, the first in the lowest bits.

    Parameters
    ----------
    words : int32 array, shape (rows, padded_words_for(count, bits))
    bits, count
        As `unpack` has them, and returns the same.
    """
    in_word = _WORD // bits
    shifts = np.arange(in_word, dtype=np.uint32) * np.uint32(bits)
    parts = np.ascontiguousarray(words).view(np.uint32)[:, :, None] >> shifts
    codes = (parts & np.uint32((1 << bits) - 1)).astype(np.uint8)
    return np.ascontiguousarray(codes.reshape(len(words), words.shape[1] * in_word)[:, :count])
