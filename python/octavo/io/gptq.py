# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of the methods ``gptq`` and ``awq``, as their libraries write them.

Of a weight (N, K) with codes of b bits, in G groups of inputs; a word holds 8 codes of 4 bits::

    X.qweight  I32  GPTQ: (K * b / 32, N), packed along K; AWQ: (K, N * b / 32), along N
    X.qzeros   I32  (G, N * b / 32)     packed along N
    X.scales   F16  (G, N)
    X.g_idx    I32  (K,)                GPTQ: the group of each input

and ``w = scale * (code - zero)``.  AWQ has the columns of a word in the order 0, 2, 4, 6, 1, 3, 5,
7, all else has the first in the lowest bits, and codes of 3 bits go on in the next word.  The
format ``gptq`` stores zero points less 1, ``gptq_v2`` and AWQ do not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from octavo._packed_words import unpack, words_for
from octavo._text import shown
from octavo._types import Array
from octavo.io.grouped_codes import (
    GroupedCodes,
    LayerTensors,
    group_count,
    grouped,
    kind_of,
    order_of,
    scales,
    words,
)
from octavo.io.scheme import Scheme, expect

GPTQ, GPTQ_V2, AWQ = "gptq", "gptq_v2", "awq"
METHODS = (GPTQ, AWQ)
_BITS = {GPTQ: (2, 3, 4, 8), AWQ: (4,)}
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
# What writers add to some layers, and the numbers cannot be read without.
_REFUSED = ("is_marlin_format", "rotation", "adapter")


class WordsConfig:
    """The ``quantization_config`` of such a checkpoint.

    Which layers are quantized the tensors tell.

    Parameters
    ----------
    config : dict

    Raises
    ------
    ValueError
        If it asks for anything that is not read here; the message names the field.
    """

    unusual = None

    def __init__(self, config: dict[str, Any]) -> None:
        method = config["quant_method"]
        expect("bits", config.get("bits"), _BITS[method])
        size = config.get("group_size", 128)
        self._bits, self._group = config["bits"], None if size == -1 else size
        if type(size) is not int or not (size == -1 or (size > 0 and size % 32 == 0)):
            raise ValueError(
                f"quantization_config: group_size is {shown(size)}, supported: -1 and multiples"
                " of 32"
            )
        for key in _REFUSED:
            if config.get(key):
                raise ValueError(f"quantization_config: {key} is not supported")
        if method == AWQ:
            self._packing, self._symmetric = _awq_packing(config), False
        else:
            self._packing, self._symmetric = _gptq_packing(config), config.get("sym", False)
            expect("sym", self._symmetric, (True, False))

    def scheme(self, names: Iterable[str], kind: str) -> Scheme | None:  # noqa: ARG002
        """Return how a layer is quantized, if it is: None of what is no linear layer."""
        if kind != "Linear":
            return None
        whole_rows = self._bits == 8 and self._group is None
        return Scheme(
            kind="int8" if whole_rows else kind_of(self._bits),
            group=self._group,
            packing=self._packing,
            bits=self._bits,
            zeros=not self._symmetric,
        )


def read_words(tensors: LayerTensors, shape: tuple[int, int], scheme: Scheme) -> GroupedCodes:
    """Read the weight of a layer.

    Raises
    ------
    ValueError
        If a tensor is missing, or not what `shape` and `scheme` ask for; the message names it.
    """
    n, k = shape
    bits, groups, is_awq = scheme.bits, group_count(k, scheme.group), scheme.packing == AWQ
    where, packed = shown(tensors.name("qweight")), words(tensors, "qweight")
    rows, columns = (k, n) if is_awq else (n, k)
    _require_whole(where, columns, bits)
    wanted = (rows, words_for(columns, bits))
    if packed.shape != (wanted if is_awq else wanted[::-1]):
        raise ValueError(
            f"tensor {where} has shape {packed.shape}, expected"
            f" {wanted if is_awq else wanted[::-1]} for {bits} bits"
        )
    codes = _awq(packed, n).T if is_awq else unpack(packed.T, bits, k)
    scale = scales(tensors, "scales", (n, groups), turned=True)
    zero = _zeros(tensors, (n, groups), scheme)
    order = None if is_awq else order_of(tensors, "g_idx", k, scheme.group)
    return grouped(np.ascontiguousarray(codes), scale, zero, order, bits, scheme.group, where)


def _require_whole(where: str, count: int, bits: int) -> None:
    """Refuse codes that leave a part of a word, which no writer of these formats makes."""
    if count * bits % 32:
        raise ValueError(f"tensor {where}: {count} codes of {bits} bits do not fill whole words")


def _awq(packed: Array, count: int) -> Array:
    """Return the codes of rows of words in the order of AWQ."""
    codes = unpack(packed, 4, count).reshape(len(packed), count // 8, 8)
    return codes[:, :, np.argsort(_AWQ_ORDER)].reshape(len(packed), count)


def _zeros(tensors: LayerTensors, shape: tuple[int, int], scheme: Scheme) -> Array | None:
    """Read what stands for 0 in each group; None if that is the middle everywhere."""
    (n, groups), bits = shape, scheme.bits
    packed, name = words(tensors, "qzeros"), shown(tensors.name("qzeros"))
    _require_whole(name, n, bits)
    if packed.shape != (groups, words_for(n, bits)):
        raise ValueError(
            f"tensor {name} has shape {packed.shape}, expected {(groups, words_for(n, bits))}"
        )
    if scheme.packing == AWQ:
        return np.ascontiguousarray(_awq(packed, n).T)
    if not scheme.zeros:
        _check_symmetric(unpack(packed, bits, n), scheme, name)
        return None
    if scheme.packing == GPTQ:
        if 32 % bits:
            raise ValueError(
                f"tensor {name}: zero points of {bits} bits are read of the format gptq_v2, not of"
                " gptq, whose writers disagree"
            )
        # Word by word, as it was subtracted: a zero point of 0 borrowed from its neighbour.
        ones = sum(1 << shift for shift in range(0, 32, bits))
        packed = (np.ascontiguousarray(packed).view(np.uint32) + np.uint32(ones)).view(np.int32)
    return np.ascontiguousarray(unpack(packed, bits, n).T)


def _check_symmetric(stored: Array, scheme: Scheme, name: str) -> None:
    """Check zero points of a checkpoint that says all are in the middle.

    Some writers call a file ``gptq`` and do not subtract the 1, and of 3 bits they subtract
    something else.
    """
    half = 1 << (scheme.bits - 1)
    allowed = (half,) if scheme.packing == GPTQ_V2 else (half, half - 1)
    if scheme.packing == GPTQ and scheme.bits == 3:
        return
    if stored.size and not any((stored == value).all() for value in allowed):
        raise ValueError(
            f"tensor {name}: expected {' or '.join(map(str, allowed))} everywhere, as sym says, got"
            f" {stored.min()} to {stored.max()}"
        )


def _gptq_packing(config: dict[str, Any]) -> str:
    found = config.get("checkpoint_format") or config.get("format") or GPTQ
    expect("checkpoint_format", found, (GPTQ, GPTQ_V2))
    expect("pack_dtype", config.get("pack_dtype") or "int32", ("int32",))
    dynamic = config.get("dynamic") or {}
    if not isinstance(dynamic, dict):
        raise ValueError("quantization_config: dynamic must be an object")
    # Those that begin with a minus name layers that stay float, which their tensors tell.
    changed = [key for key in dynamic if not str(key).startswith("-")]
    if changed:
        raise ValueError(
            f"quantization_config: dynamic has other settings for {shown(changed[0])}, which is"
            " not supported"
        )
    return str(found)


def _awq_packing(config: dict[str, Any]) -> str:
    found = config.get("version") or config.get("checkpoint_format") or config.get("format")
    name = found.lower() if isinstance(found, str) else found
    expect("version", name or "gemm", ("gemm",))
    expect("zero_point", config.get("zero_point", True), (True,))
    return AWQ
