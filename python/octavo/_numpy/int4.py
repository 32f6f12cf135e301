# SPDX-License-Identifier: Apache-2.0
"""The linear layer whose weights have 4 bits, and a scale for each group of inputs."""

from __future__ import annotations

import numpy as np

from octavo._float_mode import in_default_mode
from octavo._numpy.fused import fused
from octavo._numpy.linear import PackedLinear, exact_product
from octavo._numpy.quantize import quantize_dynamic, written
from octavo._numpy.weights import PackedWeight
from octavo._types import Array


class PackedInt4(PackedLinear):
    """4-bit weights in groups of inputs that share a scale, on both sides."""

    def __init__(
        self,
        codes: Array | PackedWeight,
        scale: Array,
        group: int,
        bias: Array | None,
        activation: str,
        output_scale: float | None,
        output_zero_point: int,
        input_multiplier: Array | None = None,
    ) -> None:
        super().__init__(
            *(codes, scale, bias, activation, True, None, 0, output_scale, output_zero_point),
            input_multiplier=input_multiplier,
        )
        self._group = group

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
        """Quantize the groups of each row, multiply, and add groups up by fused multiply-add."""
        y = np.zeros((x.shape[0], self.shape[0]), np.float32)
        codes = self.unpack()
        with np.errstate(all="ignore"):
            if self._multiplier is not None:
                x = x * self._multiplier
            for i, first in enumerate(range(0, x.shape[1], self._group)):
                part = slice(first, first + self._group)
                rows, scales, _ = quantize_dynamic(np.ascontiguousarray(x[:, part]), True)
                sums = exact_product(rows, codes[:, part].T).astype(np.float32)
                y = fused(sums, scales[:, None] * self._scale[:, i], y)
        return written(self._finish(y, residual, addend), out)

    def run_codes(self, *_: object) -> Array:
        """Refuse: codes of rows have one scale for all groups."""
        raise ValueError("self: expected a weight with one scale for each output")
