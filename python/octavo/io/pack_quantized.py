# SPDX-License-Identifier: Apache-2.0
"""Weights in the format ``pack-quantized`` of compressed-tensors.

Of a weight (N, K) with codes of b bits, in groups of g inputs::

    X.weight_packed      I32  (N, words)            codes plus 2**(b - 1), row by row
    X.weight_scale       float (N, ceil(K / g))     or (N, 1), or (1,)
    X.weight_shape       I64  (2,)                  N, K
    X.weight_zero_point  I32  (words, ceil(K / g))  optional: packed like codes, column by column;
                                                    before 2025 I8 (N, ceil(K / g)), plain
    X.weight_g_idx       integers (K,)              optional: the group of each input

A row has ``ceil(K * b / 32)`` words.  Until June 2026 codes of 3, 5, 6 and 7 bits left the rest of
a word unused, so that ``32 // b`` were in each; the number of words tells which it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from octavo._packed_words import pack, padded_words_for, unpack, unpack_padded, words_for
from octavo._text import shown
from octavo._types import Array
from octavo.io.grouped_codes import (
    GroupedCodes,
    LayerTensors,
    group_count,
    grouped,
    order_of,
    require_shape,
    scales,
    words,
)
from octavo.io.scheme import PACK_QUANTIZED, Scheme


def read_pack_quantized(
    tensors: LayerTensors, shape: tuple[int, int], scheme: Scheme
) -> GroupedCodes:
    """Read the weight of a layer.

    Raises
    ------
    ValueError
        If a tensor is missing, or not what `shape` and `scheme` ask for; the message names it.
    """
    n, k = shape
    require_shape(tensors, shape)
    bits, groups = scheme.bits, group_count(k, scheme.group)
    where, packed = shown(tensors.name("weight_packed")), words(tensors, "weight_packed")
    is_padded = _is_padded(where, packed.shape, bits, shape)
    codes = _unpacked(packed, bits, k, is_padded)
    scale = scales(tensors, "weight_scale", (n, groups), turned=False)
    zero = None
    if scheme.zeros or "weight_zero_point" in tensors:
        zero = _zero_points(tensors, bits, (n, groups), is_padded)
        if not scheme.zeros and (zero != 1 << (bits - 1)).any():
            raise ValueError(
                f"tensor {shown(tensors.name('weight_zero_point'))}: expected 0 everywhere, as"
                " symmetric says"
            )
    order = order_of(tensors, "weight_g_idx", k, scheme.group)
    return grouped(codes, scale, zero, order, bits, scheme.group, where)


def _is_padded(where: str, found: tuple[int, ...], bits: int, shape: tuple[int, int]) -> bool:
    """Tell by the number of words how codes (rows, columns) are packed."""
    rows, columns = shape
    dense, padded = words_for(columns, bits), padded_words_for(columns, bits)
    if found not in ((rows, dense), (rows, padded)):
        expected = f"{(rows, dense)} or {(rows, padded)}" if dense != padded else (rows, dense)
        raise ValueError(f"tensor {where} has shape {found}, expected {expected} for {bits} bits")
    if _is_ambiguous(bits, columns):
        raise ValueError(
            f"tensor {where}: {columns} codes of {bits} bits may be packed in two ways, which its"
            " shape does not tell apart"
        )
    return found[1] != dense


def _unpacked(packed: Array, bits: int, count: int, is_padded: bool) -> Array:
    return (unpack_padded if is_padded else unpack)(packed, bits, count)


def _zero_points(
    tensors: LayerTensors, bits: int, shape: tuple[int, int], is_padded: bool
) -> Array:
    """Read what stands for 0 in each group, as codes are stored."""
    key, (n, groups), half = "weight_zero_point", shape, 1 << (bits - 1)
    name = shown(tensors.name(key))
    if tensors.dtype(key) != "I8":
        packed = words(tensors, key)
        wanted = (padded_words_for if is_padded else words_for)(n, bits)
        if packed.shape != (wanted, groups):
            raise ValueError(
                f"tensor {name} has shape {packed.shape}, expected {(wanted, groups)} for {bits}"
                " bits"
            )
        return np.ascontiguousarray(_unpacked(packed.T, bits, n, is_padded).T)
    plain = tensors.raw(key)
    if plain.shape != shape:
        raise ValueError(f"tensor {name} has shape {plain.shape}, expected {shape}")
    if plain.size and not (plain.min() >= -half and plain.max() < half):
        raise ValueError(
            f"tensor {name}: expected values in [{-half}, {half - 1}], got {plain.min()} to"
            f" {plain.max()}"
        )
    return (plain.astype(np.int16) + half).astype(np.uint8)


def _is_ambiguous(bits: int, columns: int) -> bool:
    """Whether codes take as many words with gaps as without, though in other places."""
    return bool(32 % bits) and words_for(columns, bits) == padded_words_for(columns, bits)


def stored_groups(
    codes: Array, bits: int, group: int, numbers: tuple[Array | None, ...]
) -> tuple[dict[str, Array] | None, dict[str, Any]]:
    """Return the tensors of a weight, of which `read_pack_quantized` makes the same.

    Parameters
    ----------
    codes : int8 array, shape (N, K), or uint8 with a minimum
    bits : int
        Of a code.
    group : int
    numbers : tuple
        Scales, the units if these are steps; minima, their units; which input each column
        belongs to.

    Returns
    -------
    dict of str to array; None if the format cannot hold them: steps, minima that are no zero points
        times scales, and codes of 5 bits of which nobody could tell how they are packed
    dict
        What a `Scheme` tells of them.
    """
    scale, unit, minimum, minimum_unit, order = numbers
    told = {"bits": bits, "zeros": minimum is not None, "ordered": order is not None}
    parts = None
    if not (_is_ambiguous(bits, codes.shape[1]) or unit is not None or minimum_unit is not None):
        assert scale is not None
        parts = _packed_tensors(codes, bits, group, scale, minimum, order)
    how = {"groups": True} if parts is None else {"packing": PACK_QUANTIZED}
    return parts, {**told, **how}


def _packed_tensors(
    codes: Array, bits: int, group: int, scale: Array, minimum: Array | None, order: Array | None
) -> dict[str, Array] | None:
    (n, k), half = codes.shape, 1 << (bits - 1)
    tensors = {"weight_scale": scale, "weight_shape": np.array((n, k), np.int64)}
    if minimum is None:
        stored = (codes.astype(np.int16) + half).astype(np.uint8)
    else:
        zero = _zeros_of(scale, minimum, bits)
        # Where all are in the middle, a reader would find a symmetric weight.
        if zero is None or (zero == half).all():
            return None
        stored = codes
        tensors["weight_zero_point"] = np.ascontiguousarray(pack(zero.T, bits).T)
    if order is not None:
        groups, plain = np.empty(k, np.int32), np.empty_like(stored)
        groups[order], plain[:, order] = np.arange(k) // group, stored
        stored = plain
        tensors["weight_g_idx"] = groups
    return {"weight_packed": pack(stored, bits), **tensors}


def _zeros_of(scale: Array, minimum: Array, bits: int) -> Array | None:
    """Return what stands for 0 in each group, uint8; None if that is no code of some group."""
    wide = scale.astype(np.float32)
    with np.errstate(all="ignore"):
        ratio = np.where(wide == 0, np.float32(0), np.rint(-minimum / wide))
        zero = np.clip(np.nan_to_num(ratio), 0, (1 << bits) - 1)
        same = wide * -zero == minimum
    return zero.astype(np.uint8) if same.all() else None
