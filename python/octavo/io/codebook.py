# SPDX-License-Identifier: Apache-2.0
"""Int8 codes with few different values, stored as a codebook and packed indices.

For the codes of a weight (N, K) with C different values::

    X.weight_shape      I64  (2,)                     N, K
    X.weight_codebook   I8   (C,)                     the values, rising
    X.weight_indices    U8   (ceil(N * K * B / 8),)   B bits each, B = max(1, bits of C - 1)

Index p = n * K + k takes bits B * p to B * p + B - 1 of the stream, whose bit i is bit i % 8 (the
lowest is bit 0) of byte i // 8; its own lowest bit comes first. What is left of the last byte is 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from octavo._text import shown
from octavo.io.header import TensorInfo, Tensors

Codes = npt.NDArray[np.int8]
Bytes = npt.NDArray[np.uint8]

_MAX_EXTENT = 1 << 48


class CodebookParts(NamedTuple):
    """Names of the tensors that hold one tensor."""

    shape: str
    codebook: str
    indices: str


def index_bits(entries: int) -> int:
    """Bits of an index into a codebook with so many entries."""
    return max(1, (entries - 1).bit_length())


def different_codes(codes: Codes) -> Codes:
    """Return the values that occur, rising."""
    counts = np.bincount(codes.reshape(-1).view(np.uint8), minlength=256)
    return np.sort(np.flatnonzero(counts).astype(np.uint8).view(np.int8))


def pack_indices(codes: Codes, codebook: Codes) -> Bytes:
    """Return the packed indices of codes that all occur in the codebook.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.io.codebook import pack_indices
    >>> codes = np.array([[-5, 0, 7], [7, 7, -5]], np.int8)
    >>> pack_indices(codes, np.array([-5, 0, 7], np.int8)).tolist()
    [164, 2]
    """
    bits = index_bits(len(codebook))
    table = np.zeros(256, np.uint64)
    table[codebook.view(np.uint8)] = np.arange(len(codebook), dtype=np.uint64)
    flat = codes.reshape(-1).view(np.uint8)
    packed = np.empty((-(-flat.size // 8), bits), np.uint8)
    # Eight indices take `bits` whole bytes.
    step = 1 << 16
    for start in range(0, len(packed), step):
        part = flat[8 * start : 8 * (start + step)]
        index = np.zeros((-(-part.size // 8), 8), np.uint64)
        index.reshape(-1)[: part.size] = table[part]
        words = np.zeros(len(index), np.dtype("<u8"))
        for place in range(8):
            words |= index[:, place] << np.uint64(place * bits)
        packed[start : start + step] = words.view(np.uint8).reshape(-1, 8)[:, :bits]
    return packed.reshape(-1)[: -(-flat.size * bits // 8)]


def unpack_indices(packed: Bytes, bits: int, count: int) -> Bytes:
    """Return `count` indices; ValueError if a bit behind the last of them is set."""
    groups = -(-count // 8)
    padded = np.zeros(groups * bits, np.uint8)
    padded[: packed.size] = packed
    found = np.empty((groups, 8), np.uint8)
    step = 1 << 16
    mask = np.uint64((1 << bits) - 1)
    for start in range(0, groups, step):
        part = padded.reshape(groups, bits)[start : start + step]
        words = np.zeros((len(part), 8), np.uint8)
        words[:, :bits] = part
        whole = words.reshape(-1).view("<u8")
        for place in range(8):
            found[start : start + step, place] = (whole >> np.uint64(place * bits)) & mask
    flat = found.reshape(-1)
    if flat[count:].any():
        raise ValueError(f"expected zero bits behind index {count - 1}, got ones")
    return flat[:count]


def find_codebooks(names: Iterable[str]) -> dict[str, CodebookParts]:
    """Map each tensor that is stored with a codebook to the names of its parts.

    Examples
    --------
    >>> from octavo.io.codebook import find_codebooks
    >>> list(find_codebooks(["a.weight_codebook", "a.weight_indices", "b.bias"]))
    ['a.weight']
    """
    found = {}
    for name in names:
        base, _, last = name.rpartition(".")
        if last in ("weight_codebook", "weight_indices"):
            weight = f"{base}.weight"
            parts = (f"{weight}_shape", f"{weight}_codebook", f"{weight}_indices")
            found[weight] = CodebookParts(*parts)
    return found


class CodebookTensor:
    """One tensor stored with a codebook; its parts' types and shapes are checked here."""

    dtype = "I8"

    def __init__(self, name: str, parts: CodebookParts, files: Mapping[str, Tensors]) -> None:
        self.name = name
        self._parts = parts
        self._files = files
        for part in parts:
            if part not in files:
                path = next(files[other].path for other in parts if other in files)
                what = f"is stored with a codebook, but there is no tensor {shown(part)}"
                raise ValueError(f"{path}: tensor {shown(name)}: {what}")
        self.shape = self._read_shape()
        self._codebook = self._read_codebook()
        self._bits = index_bits(len(self._codebook))
        count = self.shape[0] * self.shape[1]
        self._expect(parts.indices, "U8", (-(-count * self._bits // 8),))

    @property
    def path(self) -> Path:
        """The file with the indices."""
        return self._files[self._parts.indices].path

    def read(self) -> Codes:
        """Return the codes, in memory of their own."""
        part = self._parts.indices
        count = self.shape[0] * self.shape[1]
        try:
            index = unpack_indices(self._array(part), self._bits, count)
        except ValueError as error:
            self._fail(part, str(error))
        highest = len(self._codebook) - 1
        if index.max() > highest:
            where = int((index > highest).argmax())
            self._fail(part, f"expected indices up to {highest}, got {index[where]} at {where}")
        return self._codebook[index].reshape(self.shape)

    def _read_shape(self) -> tuple[int, int]:
        part = self._parts.shape
        self._expect(part, "I64", (2,))
        n, k = (int(size) for size in self._array(part))
        if not (0 < n < _MAX_EXTENT and 0 < k < _MAX_EXTENT):
            self._fail(part, f"expected 2 sizes of at least 1, got {[n, k]}")
        return n, k

    def _read_codebook(self) -> Codes:
        part = self._parts.codebook
        info = self._info(part)
        if info.dtype != "I8" or len(info.shape) != 1 or not 1 <= info.shape[0] <= 255:
            got = f"{info.dtype} of shape {info.shape}"
            self._fail(part, f"expected I8 of shape (1,) to (255,), got {got}")
        codebook: Codes = np.array(self._array(part))
        if (codebook[1:] <= codebook[:-1]).any():
            self._fail(part, "expected rising values")
        return codebook

    def _expect(self, part: str, dtype: str, shape: tuple[int, ...]) -> None:
        info = self._info(part)
        if info.dtype != dtype:
            self._fail(part, f"expected type {dtype}, got {info.dtype}")
        if info.shape != shape:
            self._fail(part, f"expected shape {shape}, got {info.shape}")

    def _info(self, part: str) -> TensorInfo:
        return self._files[part].tensors[part]

    def _array(self, part: str) -> npt.NDArray[Any]:
        return self._files[part].array(part)

    def _fail(self, part: str, what: str) -> NoReturn:
        raise ValueError(f"{self._files[part].path}: tensor {shown(part)}: {what}")
