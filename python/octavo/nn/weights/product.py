# SPDX-License-Identifier: Apache-2.0
"""A float product with what a layer does before and after it, for weights computed by NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from octavo import _backend, _results
from octavo._types import Array
from octavo.nn.options import LinearOptions


class FloatProduct:
    """``activation(product(x * input_multiplier) + bias + addend) + residual``.

    ``product(x, y)`` writes that of rows (M, K) into y, (M, N).
    """

    def __init__(
        self,
        product: Callable[[Array, Array], None],
        outputs: int,
        weight_bytes: int,
        bias: Array | None,
        options: LinearOptions,
    ) -> None:
        self._product, self._outputs, self._activation = product, outputs, options.activation
        self.bias, self.input_multiplier = bias, options.input_multiplier
        held = (bias, options.input_multiplier)
        self.nbytes = weight_bytes + sum(array.nbytes for array in held if array is not None)

    call = None
    """Everything is left to `run`: next to NumPy's product, checks cost little."""

    def run(
        self,
        x: Array,
        residual: Array | None = None,
        addend: Array | None = None,
        out: Array | None = None,
    ) -> Array:
        """(M, K) float32 rows to (M, N) float32."""
        y = _results.result(out, (len(x), self._outputs), _results.FLOAT32, {})
        with np.errstate(all="ignore"):
            self._product(x if self.input_multiplier is None else x * self.input_multiplier, y)
            if self.bias is not None:
                y += self.bias
            if addend is not None:
                y += addend
            if self._activation != "none":
                flat = y.reshape(-1)
                _backend.backend.activation(flat, self._activation, flat)
            if residual is not None:
                y += residual
        return y
