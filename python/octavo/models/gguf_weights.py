# SPDX-License-Identifier: Apache-2.0
"""The weights of a GGUF file's layers in the form that the file has, or the nearest that runs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from octavo import _checks
from octavo._text import shown
from octavo._types import Array, Float32
from octavo.io.gguf.groups import GROUPED, Groups, groups_of
from octavo.io.gguf.regroup import ROUNDED, regrouped, values_of
from octavo.models.gguf_tensors import GgufTensors
from octavo.nn.weights import (
    GroupedWeight,
    Int4Weight,
    Int5Weight,
    Int8GroupWeight,
    Int8Weight,
    SteppedScale,
    Weight,
)

_STEP_BYTES = 1 << 22
_LARGEST_CODE = np.float32(128)
_KINDS: dict[str, type[GroupedWeight]] = {
    **dict.fromkeys(("Q4_0", "Q4_1", "Q4_K", "TQ1_0", "TQ2_0", "Q2_K"), Int4Weight),
    **dict.fromkeys(("Q5_0", "Q5_1", "Q5_K", "Q3_K"), Int5Weight),
    **dict.fromkeys(("Q8_0", "IQ4_NL", "IQ4_XS", "MXFP4", "Q6_K"), Int8GroupWeight),
}


class Rounded(NamedTuple):
    """What became of the weights of a type that does not run as a file has it.

    Attributes
    ----------
    type : str
        As llama.cpp calls it: "Q6_K", "F16".
    kind : str
        Of the weights that were made: "int8-group".
    tensors : int
        How many.
    file_bytes, nbytes : int
        Their bytes in the file, and as weights.
    error : float
        The norm of what rounding changed, as a share of that of the values.

    Examples
    --------
    >>> print(Rounded("Q6_K", "int8-group", 9, 9_700_000, 12_500_000, 0.004))
    Q6_K became int8-group: 9 tensors, 9.7 MB in the file, 12.5 MB here, 0.40% off
    """

    type: str
    kind: str
    tensors: int
    file_bytes: int
    nbytes: int
    error: float

    def __str__(self) -> str:
        sizes = f"{self.file_bytes / 1e6:.1f} MB in the file, {self.nbytes / 1e6:.1f} MB here"
        return (
            f"{self.type} became {self.kind}: {self.tensors} tensors, {sizes}, {self.error:.2%} off"
        )


class GgufWeights:
    """The weights of layers, by the layers' names; made some rows at a time."""

    def __init__(self, tensors: GgufTensors) -> None:
        self._tensors = tensors
        self._rounded: dict[tuple[str, str], _Sums] = {}

    def get(self, layer: str, shape: tuple[int, int]) -> Weight | None:
        """Return a layer's weight; None if there is none.

        Raises
        ------
        ValueError
            If it has another shape, a type that is not read, or numbers that are not finite.
        """
        name = f"{layer}.weight"
        if name not in self._tensors:
            return None
        stored, sums = self._tensors.stored(name), _Sums()
        place = f"{self._tensors.path}: tensor {shown(name)}"
        if stored.shape != shape:
            raise ValueError(f"{place} has shape {stored.shape}, its keys ask for {shape}")
        make = self._grouped if stored.dtype in GROUPED else self._by_rows
        try:
            weight = make(name, sums)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
        if stored.dtype in ROUNDED or stored.dtype not in GROUPED:
            whole = self._rounded.setdefault((stored.dtype, weight.kind), _Sums())
            whole.add(sums, stored.nbytes, weight.nbytes)
        return weight

    def rounded(self) -> tuple[Rounded, ...]:
        """Return what became of types that do not run as they are, of what was asked for."""
        return tuple(
            Rounded(*which, *sums.sizes, math.sqrt(sums.off / sums.values) if sums.values else 0.0)
            for which, sums in self._rounded.items()
        )

    def _rows(self, name: str, of_row: int) -> Iterator[tuple[int, int]]:
        """Yield from where to where rows are made at once, of so many bytes each."""
        count = self._tensors.tensors[name].shape[0]
        step = max(1, _STEP_BYTES // of_row)
        for start in range(0, count, step):
            yield start, min(start + step, count)

    def _grouped(self, name: str, sums: _Sums) -> Weight:
        stored = self._tensors.stored(name)
        kind, count = stored.dtype, stored.shape[0]
        whole: dict[str, Array] = {}
        for rows in self._rows(name, 2 * stored.shape[1]):
            with np.errstate(all="ignore"):
                given = groups_of(kind, self._tensors.packed(name, rows))
                made = regrouped(kind, given)
                if kind in ROUNDED:
                    sums.count(values_of(given), values_of(made))
            for field, array in made._asdict().items():
                if array is not None:
                    room = whole.setdefault(field, np.empty((count, array.shape[1]), array.dtype))
                    room[rows[0] : rows[1]] = array
        groups = Groups(**whole)
        if groups.scale.dtype == np.float32:  # those of MXFP4 reach as far as float32 does
            with np.errstate(over="ignore"):
                _checks.check_finite(groups.scale * _LARGEST_CODE, "scale times code")
        return _KINDS[kind].from_quantized(
            groups.codes,
            _held(groups.scale, groups.scale_steps),
            group=groups.size,
            minimum=None if groups.minimum is None else _held(groups.minimum, groups.minimum_steps),
        )

    def _by_rows(self, name: str, sums: _Sums) -> Weight:
        shape = self._tensors.tensors[name].shape
        codes, scale = np.empty(shape, np.int8), np.empty(shape[0], np.float32)
        for start, stop in self._rows(name, 4 * shape[1]):
            values = self._tensors.array(name, (start, stop))
            part = Int8Weight.from_float(values)
            codes[start:stop], scale[start:stop] = part.codes, part.scale
            sums.count(values, part.dequantized())
        return Int8Weight(codes, scale)


class _Sums:
    """What is summed over the weights of a type."""

    def __init__(self) -> None:
        self.sizes = (0, 0, 0)
        self.off = self.values = 0.0

    def count(self, values: Float32, made: Float32) -> None:
        """Add the squares of values, and of what became of them less those."""
        self.values += float(np.square(values, dtype=np.float64).sum())
        self.off += float(np.square(made - values, dtype=np.float64).sum())

    def add(self, tensor: _Sums, file_bytes: int, nbytes: int) -> None:
        """Add what was counted of a tensor."""
        tensors, before, after = self.sizes
        self.sizes = tensors + 1, before + file_bytes, after + nbytes
        self.off, self.values = self.off + tensor.off, self.values + tensor.values


def _held(values: Array, steps: Array | None) -> Array | SteppedScale:
    """Return scales or minima as weights take them, in float16 where that loses nothing."""
    if steps is not None:
        return SteppedScale(steps, values)
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    return half if (half == values).all() else values
