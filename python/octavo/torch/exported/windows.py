# SPDX-License-Identifier: Apache-2.0
"""How windows lie on images, and the padding around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from octavo.torch.exported.arrays import padded
from octavo.torch.exported.values import Builder, Value

IMAGES = (0, 2, 3, 1)
"""The order of (batch, channels, height, width) in a graph."""


class Axis(NamedTuple):
    """How a window slides along an axis: its extent, its steps, the padding before and after."""

    size: int
    extent: int
    stride: int
    before: int
    after: int

    @property
    def outputs(self) -> int:
        """How many places it takes."""
        return (self.size + self.before + self.after - self.extent) // self.stride + 1

    @property
    def is_same(self) -> bool:
        """Whether TensorFlow's "same" padding gives the same windows."""
        outputs = -(-self.size // self.stride)
        total = max((outputs - 1) * self.stride + self.extent - self.size, 0)
        return outputs == self.outputs and total // 2 == self.before


def pair(numbers: Sequence[int]) -> tuple[int, int]:
    """Return the numbers for height and width, where torch may have one for both."""
    return numbers[0], numbers[-1]


def placed(
    b: Builder, x: Value, axes: Sequence[Axis], *, fill: float = 0.0, same: bool = True
) -> tuple[int, list[int], dict[str, Any]]:
    """Return the image that windows slide over, the size of the result, and the options for it.

    Padding that is not TensorFlow's becomes an operator of its own.
    """
    sizes = [axis.outputs for axis in axes]
    if min(sizes) < 1:
        raise ValueError(f"expected images of {[axis.extent for axis in axes]} or more")
    has_ends = any(axis.before or axis.after for axis in axes)
    as_same = has_ends and same and all(axis.is_same for axis in axes)
    if has_ends and not as_same:
        ends = [(axis.before, axis.after) for axis in axes]
        x = padded(b, x, [(0, 0), (0, 0), *ends], fill)
    options = {
        "padding": "same" if as_same else "valid",
        "stride_h": axes[0].stride,
        "stride_w": axes[1].stride,
        "fused_activation_function": "none",
    }
    return b.arranged(x, IMAGES), sizes, options
