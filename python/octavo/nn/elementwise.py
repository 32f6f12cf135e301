# SPDX-License-Identifier: Apache-2.0
"""Layers that take values one by one: sums, activations, float32 or codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from octavo import _checks
from octavo._scales import sum_multiplier
from octavo._types import Array
from octavo.nn import _state
from octavo.nn.images import FUSED, ImageLayer, Operand, Steps, code_bounds, float_bounds, operand
from octavo.qtensor import QTensor, quantize


class Add(ImageLayer):
    """The sum of two images of one shape, and an activation.

    Parameters
    ----------
    activation : "none", "relu" or "relu6"
    output_scale, output_zero_point : float, int, optional
        Of codes, which need them.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> x = np.full((1, 1, 1, 2), 5.0, np.float32)
    >>> octavo.nn.Add("relu6")(x, x).ravel()
    array([6., 6.], dtype=float32)
    """

    def __init__(self, activation: str = "none", **output: Any) -> None:
        super().__init__(**output)
        self.activation = _checks.choice(activation, "activation", FUSED)

    def __call__(self, a: ArrayLike | QTensor, b: ArrayLike | QTensor) -> Any:  # type: ignore[override]
        """Add two images, float32 or both QTensors."""
        return self._run(operand(a, "a"), operand(b, "b"))

    def _steps(self, *operands: Operand) -> Steps:
        a, b = operands
        if b.shape != a.shape:
            raise ValueError(f"b: expected shape {a.shape}, got {b.shape}")
        places, rows = ("a", "b"), {"shape": (1, a.data.size // a.shape[-1], a.shape[-1])}
        if a.scale is None and b.scale is None:
            return Steps(a.shape, [("add_f32", places, rows | float_bounds(self.activation))])
        if a.scale is None or b.scale is None or self.output_scale is None:
            raise TypeError("a, b: expected float32, or QTensors and an output_scale")
        scale, zero_point = self.output_scale, self.output_zero_point
        arguments = {
            "a_multiplier": float(np.float32(a.scale / scale)),
            "b_multiplier": float(np.float32(b.scale / scale)),
            "a_zero_point": a.zero_point,
            "b_zero_point": b.zero_point,
            "out_zero_point": zero_point,
            **rows,
            **code_bounds(self.activation, scale, zero_point),
        }
        return Steps(a.shape, [("add", places, arguments)], scale, zero_point)

    def config(self) -> dict[str, Any]:
        """Return the options of the layer."""
        return {"activation": self.activation}


def _looked_up(
    x: Operand, function: Callable[[Array], Array], scale: float, zero_point: int
) -> Steps:
    """Return a step that gives each code what a function makes of its value."""
    assert x.scale is not None
    values = (np.arange(-128.0, 128.0) - x.zero_point) * x.scale
    table = np.clip(np.rint(function(values) / scale) + zero_point, -128, 127).astype(np.int8)
    call = ("lookup", ("x",), {"count": x.data.size, "table": table})
    return Steps(x.shape, [call], scale, zero_point)


class _Function(ImageLayer):
    """A function of each value: of float32 a step of its own, of codes a table."""

    float_step: ClassVar[dict[str, Any]]

    @staticmethod
    def function(x: Array) -> Array:
        """Compute it in float64."""
        raise NotImplementedError

    def _steps(self, *operands: Operand) -> Steps:
        x = operands[0]
        if x.scale is not None:
            return _looked_up(x, self.function, *self._codes(x))
        call = ("activation_f32", ("x",), {"count": x.data.size, **self.float_step})
        return Steps(x.shape, [call])


class ReLU6(_Function):
    """``min(max(x, 0), 6)`` of each value.

    Parameters
    ----------
    output_scale, output_zero_point : float, int, optional
        Of codes; by default those of the input.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> octavo.nn.ReLU6()(np.array([-1.0, 3.0, 8.0], np.float32))
    array([0., 3., 6.], dtype=float32)
    """

    float_step: ClassVar[dict[str, Any]] = {"low": 0.0, "high": 6.0}

    @staticmethod
    def function(x: Array) -> Array:
        """Compute it in float64."""
        return np.clip(x, 0, 6)


class Hardswish(_Function):
    """``x * min(max(x + 3, 0), 6) / 6`` of each value, as `torch.nn.Hardswish`.

    Parameters
    ----------
    output_scale, output_zero_point : float, int, optional
        Of codes; by default those of the input.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> octavo.nn.Hardswish()(np.array([-4.0, 0.0, 3.0], np.float32))
    array([-0.,  0.,  3.], dtype=float32)
    """

    float_step: ClassVar[dict[str, Any]] = {"name": "hard_swish"}

    @staticmethod
    def function(x: Array) -> Array:
        """Compute it in float64."""
        return x * np.clip(x + 3, 0, 6) / 6


class PReLU(ImageLayer):
    """Values as they are, or times the weight of their channel where they are below zero.

    Parameters
    ----------
    weight : float32 array, shape (channels,), finite
        For codes, it is quantized with one scale.
    output_scale, output_zero_point : float, int, optional
        Of codes; by default those of the input.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> octavo.nn.PReLU([0.5, 0.25])(np.array([[-4.0, -4.0]], np.float32))
    array([[-2., -1.]], dtype=float32)
    """

    def __init__(self, weight: ArrayLike, **output: Any) -> None:
        super().__init__(**output)
        self.weight = _state.parameter(weight, (None,), "weight")
        _checks.check_finite(self.weight, "weight")

    def _steps(self, *operands: Operand) -> Steps:
        x = operands[0]
        channels = self.weight.size
        if not x.shape or x.shape[-1] != channels:
            raise ValueError(f"x: expected shape (..., {channels}), got {x.shape}")
        rows: dict[str, Any] = {"shape": (x.data.size // channels, channels)}
        if x.scale is None:
            return Steps(x.shape, [("prelu_f32", ("x",), {**rows, "alpha": self.weight})])
        scale, zero_point = self._codes(x)
        alpha = quantize(self.weight)
        arguments = {
            **rows,
            "alpha": alpha.data,
            "multiplier": float(np.float32(x.scale / scale)),
            "negative_multiplier": float(sum_multiplier(scale, x.scale, alpha.scale)),
            "zero_point": x.zero_point,
            "alpha_zero_point": 0,
            "out_zero_point": zero_point,
        }
        return Steps(x.shape, [("prelu", ("x",), arguments)], scale, zero_point)

    def state_dict(self) -> dict[str, Array]:
        """Return the parameters, not copied."""
        return {"weight": self.weight}
