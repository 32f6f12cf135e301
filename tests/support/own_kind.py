# SPDX-License-Identifier: Apache-2.0
"""A kind of weight as somebody else would add it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from octavo.nn.weights import FloatWeight, Stored, StoredTensor, Weight
from octavo.nn.weights.product import FloatProduct

if TYPE_CHECKING:
    from octavo.nn import LinearOptions

Array = np.ndarray[Any, np.dtype[Any]]


class Fixed16(Weight):
    """A kind that octavo does not have: numbers in steps of one size, in 16 bits."""

    kind = "fixed16"
    keys = ("weight_steps", "weight_step")
    bits = 16

    def __init__(self, steps: Array, step: Array) -> None:
        self.steps, self.step = steps, step
        self.shape = steps.shape

    @property
    def nbytes(self) -> int:
        return self.steps.nbytes + self.step.nbytes

    @classmethod
    def from_float(cls, values: Any) -> Fixed16:
        array = FloatWeight(values).values
        step = np.float32(max(1e-9, np.abs(array).max(initial=0) / 32767))
        return cls(np.rint(array / step).astype(np.int16), np.array([step]))

    @classmethod
    def from_tensors(cls, tensors: Any) -> Fixed16:
        return cls(*(np.asarray(tensors[key]) for key in cls.keys))

    @classmethod
    def read(cls, tensors: Any, shape: tuple[int, int], role: str) -> Fixed16:
        raise NotImplementedError

    def tensors(self) -> dict[str, Array]:
        return {"weight_steps": self.steps, "weight_step": self.step}

    def stored(self, store: str, shares: bool) -> Stored:
        return Stored([StoredTensor.of(*pair) for pair in self.tensors().items()], None)

    def bind(self, bias: Array | None, options: LinearOptions) -> FloatProduct:
        def product(x: Array, y: Array) -> None:
            np.matmul(x, self.dequantized().T, out=y)

        return FloatProduct(product, self.shape[0], self.nbytes, bias, options)

    def dequantized(self) -> Array:
        return self.steps * self.step

    def like(self, values: Any) -> Fixed16:
        return Fixed16.from_float(values)

    def lookup(self, ids: Array, out: Array) -> None:
        np.multiply(self.steps[ids], self.step, out=out)
