# SPDX-License-Identifier: Apache-2.0
"""Tensors stored as a bitmap and their non-zero values, in two layouts.

octavo's own, for the int8 codes of a weight (N, K)::

    X.weight_shape    I64  (2,)                N, K
    X.weight_bitmap   U8   (N, ceil(K / 8))    column k of row n: bit k % 8 (the lowest is bit 0)
                                               of byte k // 8; bits from K on are 0
    X.weight_values   I8   (nonzeros,)         the codes at the ones, row by row; never 0

and ``sparse-bitmask`` of compressed-tensors before 0.14, for any tensor of one or two dimensions,
which is only read::

    X.shape           I64  (rank,)
    X.bitmask         U8   (..., ceil(K / 8))  as above
    X.compressed      any  (nonzeros,)         the values at the ones
    X.row_offsets     I64  (...)               where each row begins in `compressed`

There X is the layer that the weight belongs to, or (in older releases) the tensor's own name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from octavo._text import shown
from octavo._types import Array
from octavo.io.header import TensorInfo, Tensors

Codes = npt.NDArray[np.int8]

_PARAMETERS = (
    *("weight", "bias", "gamma", "beta"),
    *("weight_scale", "weight_zero_point", "input_scale", "input_zero_point"),
)
_MAX_EXTENT = 1 << 48


class Parts(NamedTuple):
    """Names of the tensors that hold one tensor; `offsets` is None in octavo's own layout."""

    shape: str
    bitmap: str
    values: str
    offsets: str | None


def pack_bitmap(codes: Codes) -> tuple[npt.NDArray[np.uint8], Codes]:
    """Return bitmap (N, ceil(K / 8)) and non-zero values of codes (N, K).

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.io.bitmap import pack_bitmap
    >>> bitmap, values = pack_bitmap(np.array([[0, 5, 0], [-7, 0, 0]], np.int8))
    >>> bitmap.tolist(), values.tolist()
    ([[2], [1]], [5, -7])
    """
    kept = codes != 0
    return np.packbits(kept, axis=1, bitorder="little"), codes[kept]


def unpack_bitmap(
    bitmap: npt.NDArray[np.uint8], values: Array, columns: int, fail: Callable[[str, str], NoReturn]
) -> Array:
    """Return the dense array of a bitmap (..., ceil(columns / 8)) and its values (nonzeros,).

    Where the two contradict each other, calls `fail` with the part, "bitmap" or "values", and what
    is wrong with it; that has to raise.
    """
    kept = np.unpackbits(bitmap, axis=-1, bitorder="little")
    if kept[..., columns:].any():
        fail("bitmap", f"expected zero bits behind column {columns}, got ones")
    kept = kept[..., :columns]
    total = int(np.count_nonzero(kept))
    if total != values.size:
        fail("values", f"expected {total} values as in the bitmap, got {values.size}")
    whole = np.zeros(kept.shape, values.dtype)
    whole[kept.view(np.bool_)] = values
    return whole


def check_codes(values: Codes, fail: Callable[[str, str], NoReturn]) -> None:
    """Refuse values that octavo's own layout cannot have, as `unpack_bitmap` does."""
    if not values.all():
        fail("values", f"expected codes without 0, got 0 at {int((values == 0).argmax())}")


def is_smaller(codes: Codes) -> bool:
    """Whether codes (N, K) take fewer bytes with a bitmap than without."""
    n, k = codes.shape
    stored = 16 + n * -(-k // 8) + int(np.count_nonzero(codes))
    return bool(stored < n * k)


def find_bitmaps(names: Iterable[str]) -> dict[str, Parts]:
    """Map each tensor that is stored with a bitmap to the names of its parts.

    Examples
    --------
    >>> from octavo.io.bitmap import find_bitmaps
    >>> list(find_bitmaps(["a.weight_bitmap", "b.bitmask", "c.bias.bitmask", "d.bias"]))
    ['a.weight', 'b.weight', 'c.bias']
    """
    found = {}
    for name in names:
        base, _, last = name.rpartition(".")
        if last in ("weight_bitmap", "weight_values"):
            weight = f"{base}.weight"
            found[weight] = Parts(f"{weight}_shape", f"{weight}_bitmap", f"{weight}_values", None)
        elif last in ("bitmask", "compressed"):
            whole = base.rpartition(".")[2] in _PARAMETERS
            found[base if whole else f"{base}.weight"] = Parts(
                f"{base}.shape", f"{base}.bitmask", f"{base}.compressed", f"{base}.row_offsets"
            )
    return found


class BitmapTensor:
    """One tensor stored with a bitmap; its parts' types and shapes are checked here."""

    def __init__(self, name: str, parts: Parts, files: Mapping[str, Tensors]) -> None:
        self.name = name
        self._parts = parts
        self._files = files
        needed = [part for part in parts if part is not None]
        for part in needed:
            if part not in files:
                path = next(files[other].path for other in needed if other in files)
                _fail(path, name, f"is stored with a bitmap, but there is no tensor {shown(part)}")
        self.shape = self._read_shape()
        width = -(-self.shape[-1] // 8)
        self._expect(parts.bitmap, ("U8",), (*self.shape[:-1], width))
        own = parts.offsets is None
        self._expect(parts.values, ("I8",) if own else ("I8", "F16", "BF16", "F32", "F64"), None)
        if parts.offsets is not None:
            self._expect(parts.offsets, ("I64",), self.shape[:-1])
        count, most = self._info(parts.values).shape[0], math.prod(self.shape)
        if count > most:
            self._fail(parts.values, f"expected at most {most} values, got {count}")

    @property
    def dtype(self) -> str:
        """Format name of the type of the values."""
        return self._info(self._parts.values).dtype

    @property
    def path(self) -> Path:
        """The file with the values."""
        return self._files[self._parts.values].path

    def read(self) -> Array:
        """Return the whole tensor, dense, in memory of its own (bfloat16 as uint16)."""
        parts = self._parts
        values, bitmap = self._array(parts.values), self._array(parts.bitmap)

        def fail(part: str, what: str) -> NoReturn:
            self._fail(getattr(parts, part), what)

        whole = unpack_bitmap(bitmap, values, self.shape[-1], fail)
        if parts.offsets is None:
            check_codes(values, fail)
        else:
            self._check_offsets(parts.offsets, bitmap)
        return whole

    def _check_offsets(self, part: str, bitmap: Array) -> None:
        kept = np.unpackbits(bitmap, axis=-1)
        counts = np.asarray(np.count_nonzero(kept, axis=-1))
        wanted = np.cumsum(counts) - counts.reshape(-1)
        found = self._array(part).reshape(-1)
        if (found != wanted).any():
            row = int((found != wanted).argmax())
            self._fail(part, f"expected {wanted[row]} for row {row}, got {found[row]}")

    def _read_shape(self) -> tuple[int, ...]:
        part = self._parts.shape
        self._expect(part, ("I64",), None)
        sizes = tuple(int(size) for size in self._array(part)[:3])
        ranks = (2,) if self._parts.offsets is None else (1, 2)
        if len(sizes) not in ranks or not all(0 < size < _MAX_EXTENT for size in sizes):
            wanted = " or ".join(map(str, ranks))
            self._fail(part, f"expected {wanted} sizes of at least 1, got {list(sizes)}")
        return sizes

    def _expect(self, part: str, dtypes: tuple[str, ...], shape: tuple[int, ...] | None) -> None:
        info = self._info(part)
        if info.dtype not in dtypes:
            self._fail(part, f"expected type {' or '.join(dtypes)}, got {info.dtype}")
        if shape is None and len(info.shape) != 1:
            self._fail(part, f"expected one dimension, got shape {info.shape}")
        if shape is not None and info.shape != shape:
            self._fail(part, f"expected shape {shape}, got {info.shape}")

    def _info(self, part: str) -> TensorInfo:
        return self._files[part].tensors[part]

    def _array(self, part: str) -> Array:
        return self._files[part].array(part)

    def _fail(self, part: str, what: str) -> NoReturn:
        _fail(self._files[part].path, part, what)


def _fail(path: Path, name: str, what: str) -> NoReturn:
    raise ValueError(f"{path}: tensor {shown(name)}: {what}")
