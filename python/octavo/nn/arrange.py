# SPDX-License-Identifier: Apache-2.0
"""Layers that move values: side by side, to another size; and softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from octavo import _checks
from octavo._ops.quantize import dequantize_linear, quantize_linear
from octavo.nn.images import ImageLayer, Operand, Steps, image_shape, operand, pair
from octavo.qtensor import QTensor


class Concatenate(ImageLayer):
    """Images side by side along an axis, their channels by default.

    Parameters
    ----------
    axis : int
    output_scale, output_zero_point : float, int, optional
        Of codes; by default those of the first input.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> x = np.ones((1, 4, 4, 2), np.float32)
    >>> octavo.nn.Concatenate()([x, x]).shape
    (1, 4, 4, 4)
    """

    def __init__(self, axis: int = -1, **output: Any) -> None:
        super().__init__(**output)
        self.axis = _checks.integer(axis, "axis", -(2**31))

    def __call__(self, inputs: Sequence[ArrayLike | QTensor]) -> Any:  # type: ignore[override]
        """Join images that are alike but along the axis, float32 or all QTensors."""
        parts = [operand(x, f"inputs[{i}]") for i, x in enumerate(inputs)]
        if not parts or len({x.scale is None for x in parts}) > 1:
            raise TypeError("inputs: expected some of float32, or some QTensors")
        axis = _checks.axis_of(self.axis, len(parts[0].shape))
        for i, x in enumerate(parts):
            wanted: list[int | None] = list(parts[0].shape)
            wanted[axis] = None
            _checks.check_shape(x.data, tuple(wanted), f"inputs[{i}]")
        if parts[0].scale is None:
            return np.concatenate([x.data for x in parts], axis)
        output = self._codes(parts[0])
        scale, zero_point = np.float32(output[0]), np.int8(output[1])
        codes = []
        for x in parts:
            if x[1:] != output:
                values = dequantize_linear(x.data, np.float32(x.scale), np.int8(x.zero_point))
                x = x._replace(data=quantize_linear(values, scale, zero_point))
            codes.append(x.data)
        return QTensor(np.concatenate(codes, axis), scale, zero_point)

    def config(self) -> dict[str, Any]:
        """Return the options of the layer."""
        return {"axis": self.axis}


class Upsample(ImageLayer):
    """Images of another size, as `torch.nn.Upsample`; codes keep their scale.

    Parameters
    ----------
    size : int, or two for height and width, optional
    scale_factor : int or two, optional
        In the place of `size`: how many times as large.
    mode : "nearest" or "bilinear"
    align_corners : bool
        Whether the values of corners stay where they are; for "bilinear".

    Examples
    --------
    >>> import numpy as np, octavo
    >>> octavo.nn.Upsample(scale_factor=2)(np.ones((1, 2, 3, 1), np.float32)).shape
    (1, 4, 6, 1)
    """

    def __init__(
        self,
        size: Any = None,
        scale_factor: Any = None,
        mode: str = "nearest",
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        if (size is None) == (scale_factor is None):
            raise TypeError("size: expected either size or scale_factor")
        self.size = None if size is None else pair(size, "size")
        self.scale_factor = None if scale_factor is None else pair(scale_factor, "scale_factor")
        self.mode = _checks.choice(mode, "mode", ("nearest", "bilinear"))
        self.align_corners = _checks.boolean(align_corners, "align_corners")
        if self.align_corners and mode == "nearest":
            raise ValueError("align_corners: expected False with mode 'nearest', got True")

    def _steps(self, *operands: Operand) -> Steps:
        x = operands[0]
        batch, height, width, channels = image_shape(x)
        size = self.size
        if self.scale_factor is not None:
            size = height * self.scale_factor[0], width * self.scale_factor[1]
        assert size is not None
        arguments = {
            "shape": x.shape,
            "size": size,
            "method": self.mode,
            "align_corners": self.align_corners,
            "half_pixel_centers": self.mode == "bilinear" and not self.align_corners,
        }
        name = "resize_f32" if x.scale is None else "resize"
        return Steps((batch, *size, channels), [(name, ("x",), arguments)], *x[1:])

    def config(self) -> dict[str, Any]:
        """Return the options of the layer."""
        names = ("size", "scale_factor", "mode", "align_corners")
        return {name: getattr(self, name) for name in names}


class Softmax(ImageLayer):
    """Softmax along the last axis; codes have scale 1/256 and zero point -128, for 0 to 1.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> octavo.nn.Softmax()(np.zeros((1, 4), np.float32))
    array([[0.25, 0.25, 0.25, 0.25]], dtype=float32)
    """

    def _steps(self, *operands: Operand) -> Steps:
        x = operands[0]
        rows: dict[str, Any] = {"shape": (x.data.size // x.shape[-1], x.shape[-1])}
        if x.scale is None:
            return Steps(x.shape, [("softmax_f32", ("x",), rows)])
        output = {"out_scale": 1 / 256, "out_zero_point": -128}
        arguments = {**rows, **output, "scale": x.scale, "zero_point": x.zero_point}
        return Steps(x.shape, [("softmax", ("x",), arguments)], 1 / 256, -128)
