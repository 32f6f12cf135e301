# SPDX-License-Identifier: Apache-2.0
"""Weights with scales of groups of inputs, and the linear layer of one."""

from __future__ import annotations

import numpy as np

from octavo._float_mode import in_default_mode
from octavo._numpy.fused import fused
from octavo._numpy.linear import PackedLinear, exact_product
from octavo._numpy.quantize import quantize_dynamic, written
from octavo._numpy.weights import PackedWeight
from octavo._scales import group_floats
from octavo._types import Array

Numbers = tuple[Array, Array | None, Array | None, Array | None, Array | None]


class GroupedWeight(PackedWeight):
    """Codes of 4, 5 or 8 bits: value = code * scale + minimum, both of a group of inputs.

    Codes (N, K) are int8, uint8 where there are minima.  Numbers of groups are float32 or float16,
    (N, groups), or uint8 steps of float16 units, (N, groups / 8, rounded up).
    """

    format = "dense"

    def __init__(
        self,
        codes: Array,
        bits: int,
        group: int,
        scale: Array,
        scale_unit: Array | None = None,
        minimum: Array | None = None,
        minimum_unit: Array | None = None,
        order: Array | None = None,
    ) -> None:
        self.shape = codes.shape[0], codes.shape[1]
        self._bits, self.group = bits, group
        self._codes = codes.copy()
        held = (scale, scale_unit, minimum, minimum_unit, order)
        self._numbers: Numbers = tuple(None if x is None else x.copy() for x in held)  # type: ignore[assignment]

    @property
    def nbytes(self) -> int:
        """Bytes of codes and numbers."""
        return self._codes.nbytes + sum(x.nbytes for x in self._numbers if x is not None)

    @property
    def form(self) -> tuple[int, int, str, str | None, bool]:
        """Return bits, group, how scales and minima are held, and whether there is an order."""
        scale, scale_unit, minimum, minimum_unit, order = self._numbers
        kinds = [
            "steps" if unit is not None else None if values is None else str(values.dtype)
            for values, unit in ((scale, scale_unit), (minimum, minimum_unit))
        ]
        return self._bits, self.group, str(kinds[0]), kinds[1], order is not None

    def unpack(self) -> Array:
        """Return the codes, (N, K), as a fresh array of int8."""
        return self._codes.view(np.int8).copy()

    def numbers(self) -> Numbers:
        """Return scale, its units, minimum, its units, order: as they were given, or None."""
        return self._numbers

    def codes(self) -> Array:
        """Return the codes as they were given."""
        return self._codes

    def scale(self) -> Array:
        """Return the scales as float32, (N, groups)."""
        return group_floats(*self._numbers[:2])

    def minimum(self) -> Array | None:
        """Return the minima as float32, (N, groups), if there are any."""
        values, unit = self._numbers[2:4]
        return None if values is None else group_floats(values, unit)

    @property
    def order(self) -> Array | None:
        """Which input each column of codes is for; None: as they come."""
        return self._numbers[4]

    @in_default_mode
    def rows(self, ids: Array, out: Array) -> None:
        """Write rows as float32, in the order of inputs."""
        out = out.reshape(len(ids), self.shape[1])
        with np.errstate(all="ignore"):
            values = self._codes[ids] * self._spread(self.scale()[ids])
            minimum = self.minimum()
            if minimum is not None:
                values += self._spread(minimum[ids])
        out[:, slice(None) if self.order is None else self.order] = values

    def _spread(self, numbers: Array) -> Array:
        spread: Array = numbers.repeat(self.group, axis=1)[:, : self.shape[1]]
        return spread


class GroupedLinear(PackedLinear):
    """The layer of such a weight; rows are quantized in the same groups."""

    weight: GroupedWeight

    def __init__(
        self,
        weight: GroupedWeight,
        bias: Array | None,
        activation: str,
        output_scale: float | None,
        output_zero_point: int,
        input_multiplier: Array | None = None,
    ) -> None:
        no_scale = np.empty(0, np.float32)
        super().__init__(
            *(weight, no_scale, bias, activation, True, None, 0, output_scale, output_zero_point),
            input_multiplier=input_multiplier,
        )

    @property
    def scale(self) -> None:  # type: ignore[override]
        """None: outputs have no scale for all groups."""

    def memory(self) -> tuple[Array | None, Array | None, Array | None]:
        """Return no codes, no scale, which groups share otherwise, and the bias, writable."""
        return None, None, self._bias

    @in_default_mode
    def run(
        self,
        x: Array,
        residual: Array | None = None,
        addend: Array | None = None,
        out: Array | None = None,
    ) -> Array:
        """Quantize the groups of each row, multiply, and add groups up by fused multiply-add.

        What minima make of the sums of codes comes first.
        """
        weight = self.weight
        codes, scale, minimum = weight.codes(), weight.scale(), weight.minimum()
        y = np.zeros((x.shape[0], self.shape[0]), np.float32)
        with np.errstate(all="ignore"):
            if self._multiplier is not None:
                x = x * self._multiplier
            if weight.order is not None:
                x = x[:, weight.order]
            parts = [slice(i, i + weight.group) for i in range(0, x.shape[1], weight.group)]
            rows = [quantize_dynamic(np.ascontiguousarray(x[:, part]), True) for part in parts]
            if minimum is not None:
                for g, (row_codes, row_scale, _) in enumerate(rows):
                    sums = row_codes.sum(axis=1, dtype=np.int32).astype(np.float32)
                    y = fused((sums * row_scale)[:, None], minimum[:, g], y)
            for g, (row_codes, row_scale, _) in enumerate(rows):
                sums = exact_product(row_codes, codes[:, parts[g]].T).astype(np.float32)
                y = fused(sums, row_scale[:, None] * scale[:, g], y)
        return written(self._finish(y, residual, addend), out)

    def run_codes(self, *_: object) -> Array:
        """Refuse: codes of rows have one scale for all groups."""
        raise ValueError("self: expected a weight with one scale for each output")
